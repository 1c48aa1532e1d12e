"""Intervals that borrow their spread: the parts against SciPy's, the whole against simulations whose truth is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from builders import make_case, make_measurement
from spreads import DATA_SETS, EQUAL, KINDS, SEED, UNEQUAL, coverage, drawn

from stepbench.judge import moderated
from stepbench.judge.moderated import (
    NOTHING,
    Prior,
    digamma,
    estimates,
    inverse_trigamma,
    prior_of_variances,
    speedups,
    trigamma,
)
from stepbench.judge.statistics import Estimate, speedup


@pytest.mark.parametrize("x", [1e-3, 0.1, 0.5, 1.0, 1.5, 2.0, 5.9, 6.0, 17.0, 1e4])
def test_the_polygamma_functions_are_those_of_scipy(x: float) -> None:
    import scipy.special

    assert digamma(x) == pytest.approx(float(scipy.special.digamma(x)), rel=1e-9, abs=1e-9)
    assert trigamma(x) == pytest.approx(float(scipy.special.polygamma(1, x)), rel=1e-9)
    assert inverse_trigamma(trigamma(x)) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize(("variance", "degrees"), [(2.0, 6.0), (0.1, 10.0)])
def test_the_prior_that_variances_were_drawn_from_is_found(variance: float, degrees: float) -> None:
    generator = np.random.default_rng(SEED)
    true = variance * degrees / generator.chisquare(degrees, 4000)
    found = prior_of_variances([(float(one * generator.chisquare(4) / 4), 4) for one in true])
    assert found.variance == pytest.approx(variance, rel=0.1)
    assert found.degrees == pytest.approx(degrees, rel=0.35)


def test_variances_that_differ_by_less_than_chance_are_one_and_the_same() -> None:
    alike = prior_of_variances([(1.0, 4)] * 8)
    assert alike.degrees == math.inf
    assert alike.most == pytest.approx(32 / 2.75)


@pytest.mark.parametrize("samples", [[], [(1.0, 4)], [(1.0, 4), (0.0, 4)]])
def test_one_variance_has_nothing_to_borrow_from(samples: list[tuple[float, int]]) -> None:
    assert prior_of_variances(samples) == NOTHING


@pytest.mark.parametrize("data_sets", [DATA_SETS, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("replicates", "spreads", "reference"), KINDS)
def test_intervals_hold_the_truth_about_as_often_as_they_say(
    replicates: int, spreads: Sequence[float], reference: float, data_sets: int
) -> None:
    found = coverage(replicates, spreads, reference, data_sets)
    # On the mean over cases; of unequal ones, the one that spreads most is the worst off.
    assert float(np.mean(found)) > 0.915
    assert min(found) > 0.87


@pytest.mark.parametrize("plant", ["too many degrees", "pooled whole", "own variance ignored"])
def test_a_planted_error_holds_it_less_often(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = moderated.prior_of

    def unlimited(samples: Iterable[Sequence[float]]) -> Prior:
        prior = honest(samples)
        return Prior(prior.variance, 1e3, 1e3) if plant == "too many degrees" else Prior(prior.variance, 40.0, 40.0)

    monkeypatch.setattr(moderated, "prior_of", unlimited)
    if plant == "own variance ignored":
        monkeypatch.setattr(moderated, "max", lambda *values: values[-1], raising=False)
    replicates, spreads, reference = (2, EQUAL, 3.0) if plant == "too many degrees" else (2, UNEQUAL, 3.0)
    found = coverage(replicates, spreads, reference)
    assert float(np.mean(found)) < 0.915


def test_three_replicates_of_many_cases_tell_far_more_than_students() -> None:
    generator = np.random.default_rng(SEED)
    widths: list[float] = []
    for _ in range(DATA_SETS):
        logs = dict(enumerate(drawn(generator, 3, EQUAL, 1.0)))
        widths += [math.log(one.high / one.low) for one in estimates(logs).values() if one.high and one.low]
    ours = statistics.median(widths)
    # Student's interval of three replicates spans 2 · 4.30 standard deviations of a mean of three.
    assert ours < 0.75 * 2 * 4.30 * math.sqrt(2 / 3)


def test_a_case_that_spreads_more_keeps_its_own_spread_and_one_that_spreads_less_does_not() -> None:
    usual = {number: [0.01, -0.01, 0.0, 0.005, -0.005] for number in range(6)}
    wild, calm = [0.5, -0.5, 0.3, -0.3, 0.0], [1e-6, -1e-6, 0.0, 0.0, 0.0]
    found = estimates({**usual, 6: wild, 7: calm})
    own = float(np.std(wild, ddof=1))
    assert found[6].high
    assert math.log(found[6].high) >= 2.0 * own / math.sqrt(5), "at least the normal quantile of its own spread"
    assert found[7].high
    assert math.log(found[7].high) > 2.8e-6


def test_what_does_not_spread_at_all_has_an_interval_of_no_width_and_gives_none_to_others() -> None:
    exact = {0: [0.0, 0.0, 0.0]}
    assert estimates(exact)[0] == Estimate(1.0, 1.0, 1.0)
    assert estimates({**exact, 1: [0.1, 0.2, 0.3]})[1] == estimates({1: [0.1, 0.2, 0.3]})[1]


def test_a_single_comparison_of_two_replicates_has_no_interval_and_several_have() -> None:
    assert estimates({0: [0.1, 0.2]})[0].low is None
    several = estimates({number: [0.1 * number, 0.1 * number + 0.01 * (1 + number)] for number in range(1, 6)})
    assert all(one.low for one in several.values())
    assert estimates({0: [0.1], 1: [0.1, 0.2, 0.3]})[0].low is None, "one replicate has nothing of its own to say"


def test_speedups_are_paired_as_those_of_one_case_are() -> None:
    reference = make_measurement(make_case("eager"), [0.2, 0.3], [0.22, 0.31], [0.2, 0.29])
    cases = [make_measurement(make_case(name), [0.1, 0.14], [0.1, 0.16], [0.11, 0.15]) for name in ("graph", "xla")]
    elsewhere = make_measurement(make_case("keras"))
    found = speedups([reference, *cases, elsewhere], reference)
    assert set(found) == {reference.case, *(one.case for one in cases)}
    assert found[reference.case] == Estimate(1.0, 1.0, 1.0)
    for one in cases:
        alone = speedup(one, reference)
        assert alone
        assert found[one.case].value == pytest.approx(alone.value)
