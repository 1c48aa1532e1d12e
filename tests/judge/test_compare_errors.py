"""How often a comparison of two runs errs, by simulations whose truth is known; the machine stays the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import make_cases, make_measurement
from chances import most

from stepbench.judge import compare
from stepbench.judge.compare import FALSE_ALARMS, ComparisonVerdict, compare_cases
from stepbench.records.cases import Case
from stepbench.records.run import Measurement

SEED = 20261129
TRIALS = 300
CASES = make_cases(9)
SPREADS = np.geomspace(0.005, 0.04, len(CASES))
"""Standard deviations of the cases' processes."""


def a_run(generator: np.random.Generator, slower: float = 0.0) -> list[Measurement]:
    """Five processes of each case, whose times differ by chance, all of them longer by a share."""
    return [measured(generator, case, spread, slower) for case, spread in zip(CASES, SPREADS, strict=True)]


def measured(generator: np.random.Generator, case: Case, spread: float, slower: float) -> Measurement:
    logs = math.log(0.01 * (1 + slower)) + generator.normal(0, spread, 5)
    return make_measurement(case, *([float(np.exp(log))] * 3 for log in logs))


def said(verdict: ComparisonVerdict, slower: float, threshold: float = 0.02) -> int:
    """In how many of the trials any of nine cases got that verdict."""
    generator = np.random.default_rng(SEED)
    count = 0
    for _ in range(TRIALS):
        found = compare_cases(a_run(generator), a_run(generator, slower), threshold, judged=True)
        count += any(case.verdict is verdict for case in found)
    return count


def test_what_is_unchanged_is_seldom_called_slower() -> None:
    assert said(ComparisonVerdict.REGRESSION, 0.0, threshold=0.001) <= most(FALSE_ALARMS, TRIALS)


def test_what_is_slower_by_the_threshold_seldom_passes() -> None:
    assert said(ComparisonVerdict.PASS, 0.02) <= most(FALSE_ALARMS, TRIALS)


def test_what_is_far_slower_is_found() -> None:
    assert said(ComparisonVerdict.REGRESSION, 0.1) == TRIALS


@pytest.mark.parametrize("verdict", [ComparisonVerdict.REGRESSION, ComparisonVerdict.PASS])
def test_an_error_that_the_cases_do_not_share_would_be_seen(
    verdict: ComparisonVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "FALSE_ALARMS", FALSE_ALARMS * len(CASES))
    slower, threshold = (0.0, 0.001) if verdict is ComparisonVerdict.REGRESSION else (0.02, 0.02)
    assert said(verdict, slower, threshold) > most(FALSE_ALARMS, TRIALS)
