from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
from builders import make_case, make_failed, make_measurement

from stepbench.judge.compare import CaseComparison, ComparisonVerdict, compare_cases
from stepbench.records.run import Measurement

CASE = make_case()
OLD = (0.100, 0.101, 0.099, 0.1005, 0.0995)


def timed(times: Sequence[float], execution: str = "graph") -> Measurement:
    """A replicate for each time."""
    return make_measurement(make_case(execution), *([time] * 3 for time in times))


def compared(old: Sequence[float], new: Sequence[float], *, judged: bool = True) -> CaseComparison:
    (found,) = compare_cases([timed(old)], [timed(new)], 0.02, judged=judged)
    return found


def scaled(factor: float) -> list[float]:
    return [factor * time for time in OLD]


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        (OLD, "pass"),
        (scaled(1.001), "pass"),
        (scaled(1.1), "regression"),
        (scaled(0.9), "improved"),
        ([0.08, 0.1, 0.12, 0.14, 0.09], "inconclusive"),
        (scaled(1.015), "inconclusive"),
    ],
)
def test_the_verdict_is_what_was_planted(new: Sequence[float], verdict: str) -> None:
    found = compared(OLD, new)
    assert (found.verdict, found.id) == (verdict, CASE.id)


def test_different_machines_are_shown_and_not_judged() -> None:
    found = compared(OLD, scaled(2), judged=False)
    assert found.verdict is ComparisonVerdict.NOT_JUDGED
    assert found.ratio
    assert found.ratio.value == pytest.approx(2)


@pytest.mark.parametrize(("old", "new"), [([0.1], OLD), (OLD, [0.5]), ([0.1], [0.5]), (OLD, [0.5, 0.6])])
def test_too_few_replicates_are_inconclusive_without_an_interval(old: Sequence[float], new: Sequence[float]) -> None:
    found = compared(old, new)
    assert found.verdict is ComparisonVerdict.INCONCLUSIVE
    assert found.ratio
    assert (found.ratio.low, found.ratio.high) == (None, None)


@pytest.mark.parametrize(
    "new", [[0.11, 0.111, 0.109, 0.1105], [0.105, 0.125, 0.11, 0.098, 0.12, 0.13, 0.1], [0.12, 0.13, 0.125]]
)
def test_the_interval_is_welchs_with_freedom_rounded_down(new: list[float]) -> None:
    from scipy import stats

    before, after = ([math.log(time / 10) for time in times] for times in (OLD, new))
    theirs = stats.ttest_ind(after, before, equal_var=False)
    difference = statistics.fmean(after) - statistics.fmean(before)
    reach = stats.t.ppf(0.975, math.floor(theirs.df)) * difference / theirs.statistic
    ratio = compared(OLD, new).ratio
    assert ratio
    assert ratio.low is not None
    assert ratio.high is not None
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((difference - reach, difference + reach))
    exact = theirs.confidence_interval(0.95)
    assert math.log(ratio.low) <= exact.low
    assert math.log(ratio.high) >= exact.high


def test_identical_times_have_an_interval_of_no_width() -> None:
    found = compared([0.1] * 3, [0.1] * 3)
    assert found.verdict is ComparisonVerdict.PASS
    assert found.ratio
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (1.0, 1.0, 1.0)


def test_a_case_that_one_run_lacks_or_did_not_time_is_missing_and_says_which() -> None:
    both, gone, added = (timed(OLD, name) for name in ("both", "gone", "added"))
    found = compare_cases([both, gone], [added, both], 0.02, judged=True)
    assert [(case.verdict, case.why) for case in found] == [
        ("pass", ""),
        ("missing", "the new run does not have it"),
        ("missing", "the old run does not have it"),
    ]
    assert found[1].ratio is None
    (untimed,) = compare_cases([Measurement(CASE)], [timed(OLD)], 0.02, judged=True)
    assert (untimed.verdict, untimed.why) == ("missing", "the old run did not time it")


@pytest.mark.parametrize("broken", ["old", "new"])
def test_a_case_that_failed_is_missing_with_its_reason(broken: str) -> None:
    runs = {"old": [timed(OLD)], "new": [timed(OLD)], broken: [make_failed(CASE, message="planted")]}
    (found,) = compare_cases(runs["old"], runs["new"], 0.02, judged=True)
    assert (found.verdict, found.why) == ("missing", f"it failed in the {broken} run: error: planted")


def test_more_cases_make_each_judgement_stricter() -> None:
    new = [0.101, 0.108, 0.104, 0.107, 0.1025]
    many = [timed(OLD, f"case-{number}") for number in range(200)]
    (alone,) = compare_cases([timed(OLD)], [timed(new)], 0.02, judged=True)
    among, *_ = compare_cases([timed(OLD), *many], [timed(new), *many], 0.02, judged=True)
    assert (alone.verdict, among.verdict) == ("regression", "inconclusive")
