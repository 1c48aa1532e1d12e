from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from builders import make_block, make_case, make_failed, make_measurement, make_replicate
from chances import quantile

from stepbench.judge.moderated import speedups
from stepbench.judge.recommend import Choice, choose
from stepbench.judge.training import Equivalence, Verdict
from stepbench.records.cases import EAGER, GRAPH, XLA, Case
from stepbench.records.run import Measurement

EAGER_CASE, GRAPH_CASE, XLA_CASE, KERAS_CASE = (make_case(name) for name in (EAGER, GRAPH, XLA, "keras"))
UNCERTAIN = (Verdict.INCONCLUSIVE, Verdict.NOT_CHECKED)


def timed(case: Case, seconds: float, noise: tuple[float, ...] = (0.01, -0.01, 0.005)) -> Measurement:
    """One replicate for each of ``noise``, shares by which it is off."""
    return make_measurement(case, *([seconds * (1 + off)] * 4 for off in noise))


EAGER_TIMED, GRAPH_TIMED, XLA_TIMED = (
    timed(EAGER_CASE, 0.40),
    timed(GRAPH_CASE, 0.10, (-0.01, 0.01, 0.0)),
    timed(XLA_CASE, 0.20, (0.0, -0.01, 0.01)),
)


def chosen(*measurements: Measurement, **verdicts: Verdict) -> Choice | None:
    """What is chosen where each execution has one of ``verdicts``, or else converges alike."""
    found = {
        measurement.case: Equivalence(verdicts.get(measurement.case.variant.execution, Verdict.EQUIVALENT))
        for measurement in measurements
    }
    return choose(measurements, found)


def cases_of(choice: Choice | None) -> tuple[tuple[Case, ...], list[Case], list[Case]]:
    assert choice
    return choice.best, [other.case for other in choice.slower], [other.case for other in choice.faster]


def test_the_fastest_is_best_and_the_others_are_slower_fastest_first() -> None:
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, XLA_TIMED)
    assert cases_of(choice) == ((GRAPH_CASE,), [XLA_CASE, EAGER_CASE], [])
    assert choice
    assert choice.fastest == GRAPH_CASE
    assert [other.ratio.value for other in choice.slower] == pytest.approx([2.0, 4.0], rel=0.02)


def test_what_is_not_shown_to_be_slower_is_tied() -> None:
    near = timed(XLA_CASE, 0.101, (0.02, -0.02, 0.0))
    assert cases_of(chosen(EAGER_TIMED, near, GRAPH_TIMED)) == ((GRAPH_CASE, XLA_CASE), [EAGER_CASE], [])


def test_a_small_difference_that_every_replicate_shows_is_no_tie() -> None:
    # They share the noise of their replicate, in which two percent would drown.
    noise, ratios = (0.3, -0.2, 0.1), (1.02, 1.021, 1.019)
    fast = timed(GRAPH_CASE, 0.1, noise)
    slow = timed(XLA_CASE, 0.1, tuple((1 + off) * ratio - 1 for off, ratio in zip(noise, ratios, strict=True)))
    assert cases_of(chosen(fast, slow)) == ((GRAPH_CASE,), [XLA_CASE], [])


@pytest.mark.parametrize("verdict", UNCERTAIN)
def test_a_faster_case_that_may_converge_otherwise_is_not_best_but_named(verdict: Verdict) -> None:
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, XLA_TIMED, graph=verdict)
    assert cases_of(choice) == ((XLA_CASE,), [EAGER_CASE], [GRAPH_CASE])


@pytest.mark.parametrize("verdict", [Verdict.DIFFERENT, *UNCERTAIN])
def test_what_is_not_shown_to_be_faster_is_not_named(verdict: Verdict) -> None:
    near = timed(XLA_CASE, 0.099, (0.02, -0.02, 0.0))
    assert cases_of(chosen(EAGER_TIMED, near, GRAPH_TIMED, xla=verdict)) == ((GRAPH_CASE,), [EAGER_CASE], [])


def test_a_faster_case_that_converges_differently_is_never_best() -> None:
    only_different = chosen(EAGER_TIMED, GRAPH_TIMED, graph=Verdict.DIFFERENT)
    assert cases_of(only_different) == ((EAGER_CASE,), [], [GRAPH_CASE])
    unchecked = chosen(EAGER_TIMED, GRAPH_TIMED, eager=Verdict.NOT_CHECKED, graph=Verdict.DIFFERENT)
    assert cases_of(unchecked) == ((EAGER_CASE,), [], [GRAPH_CASE])


@pytest.mark.parametrize("verdict", UNCERTAIN)
def test_where_nothing_is_shown_to_converge_alike_speed_decides(verdict: Verdict) -> None:
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, XLA_TIMED, eager=verdict, graph=verdict, xla=verdict)
    assert cases_of(choice) == ((GRAPH_CASE,), [XLA_CASE, EAGER_CASE], [])


def test_where_everything_converges_differently_nothing_is_best() -> None:
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, eager=Verdict.DIFFERENT, graph=Verdict.DIFFERENT)
    assert choice == Choice(fastest=None)


def test_one_replicate_decides_nothing_and_is_passed_over_where_others_have_more() -> None:
    once = [make_measurement(case, [seconds] * 9) for case, seconds in ((EAGER_CASE, 0.4), (GRAPH_CASE, 0.1))]
    assert chosen(*once) == Choice(fastest=GRAPH_CASE)
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, make_measurement(KERAS_CASE, [0.05] * 9))
    assert cases_of(choice) == ((GRAPH_CASE,), [EAGER_CASE], [])


def test_cases_that_did_not_run_interleaved_are_compared_as_independent() -> None:
    blocks = tuple(make_block(number, 0.2) for number in (7, 8))
    others = Measurement(XLA_CASE, tuple(make_replicate(XLA_CASE, [], number, blocks=blocks) for number in range(3)))
    assert cases_of(chosen(GRAPH_TIMED, others)) == ((GRAPH_CASE,), [XLA_CASE], [])


@pytest.mark.parametrize(
    "others",
    [(), (make_failed(XLA_CASE),), (Measurement(XLA_CASE),), (make_measurement(XLA_CASE, [], []),)],
    ids=["alone", "failed", "not measured", "without blocks"],
)
def test_without_two_timed_cases_there_is_no_choice(others: tuple[Measurement, ...]) -> None:
    assert chosen(GRAPH_TIMED, *others) is None


def test_a_failed_case_is_not_chosen_however_fast_it_was() -> None:
    failed = Measurement(XLA_CASE, timed(XLA_CASE, 0.01).replicates, make_failed(XLA_CASE).failure)
    assert cases_of(chosen(EAGER_TIMED, GRAPH_TIMED, failed)) == ((GRAPH_CASE,), [EAGER_CASE], [])


def test_the_intervals_share_the_chance_to_err() -> None:
    choice = chosen(EAGER_TIMED, GRAPH_TIMED, XLA_TIMED)
    assert choice
    assert len(choice.slower) == 2
    for shared, confidence in ((True, 1 - 0.05 / 2), (False, 0.95)):
        expected = speedups([EAGER_TIMED, XLA_TIMED], GRAPH_TIMED, confidence)
        assert all((other.ratio == expected[other.case].inverse(1.0)) == shared for other in choice.slower)


def simulated(generator: np.random.Generator, seconds: dict[Case, float], replicates: int = 4) -> list[Measurement]:
    """Cases whose processes differ by 3 %, and blocks by 2 %."""
    return [
        make_measurement(
            case,
            *(
                [second * math.exp(process + generator.normal(0, 0.02)) for _ in range(4)]
                for process in generator.normal(0, 0.03, replicates)
            ),
        )
        for case, second in seconds.items()
    ]


@pytest.mark.parametrize("data_sets", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_the_truly_fastest_is_among_the_best_as_often_as_promised(data_sets: int) -> None:
    generator = np.random.default_rng(20260101)
    cases = [make_case(f"variant-{number}") for number in range(5)]
    seconds = dict(zip(cases, itertools.chain([0.1], itertools.repeat(0.1001)), strict=False))
    kept = sum(cases[0] in cases_of(chosen(*simulated(generator, seconds)))[0] for _ in range(data_sets))
    # The quantile of a binomial test that errs in one of ten thousand.
    assert kept >= quantile(1e-4, data_sets, 0.95)
