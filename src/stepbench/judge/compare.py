"""Two stored runs against each other: the second choice, where both revisions can no longer be run side by side.

Replicates of one run are fresh processes, but all of one moment of the machine; what changes between the two moments is
in the difference and not in the interval. So a verdict needs the same machine, and is weaker than a gate's. The JSON of
:class:`Comparison` is public.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from stepbench.errors import StepbenchError
from stepbench.judge.statistics import CONFIDENCE, FEWEST_DEGREES, Estimate, replicate_logs, t_quantile
from stepbench.records.cases import Case
from stepbench.records.machine import differences
from stepbench.records.run import Measurement
from stepbench.records.store import Run

SCHEMA = 1
FALSE_ALARMS = 0.02
"""The chance to call an unchanged case a regression, were the machine the same at both times; over all cases."""


class ComparisonVerdict(StrEnum):
    """What a comparison says of a case."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password.
    REGRESSION = "regression"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    NOT_JUDGED = "not_judged"


_GRAVEST = (
    ComparisonVerdict.REGRESSION,
    ComparisonVerdict.MISSING,
    ComparisonVerdict.INCONCLUSIVE,
    ComparisonVerdict.NOT_JUDGED,
    ComparisonVerdict.IMPROVED,
    ComparisonVerdict.PASS,
)


class CaseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One case of two runs."""

    id: str
    verdict: ComparisonVerdict
    ratio: Estimate | None
    """The new step time over the old one."""
    why: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs compared."""

    schema: int = SCHEMA
    old: str
    new: str
    verdict: ComparisonVerdict
    threshold: float
    differences: tuple[str, ...]
    """What else than the code is not the same, as far as it decides or shifts speed."""
    cases: tuple[CaseComparison, ...]


def compare_runs(old: Run, new: Run, threshold: float, *, allow_different_machines: bool) -> Comparison:
    """Compare two runs case by case.

    Raises:
        StepbenchError: when they are of different machines, unless that is allowed; then nothing is judged.
    """
    same = old.environment.fingerprint == new.environment.fingerprint
    differing = differences(old.environment, new.environment)
    if not same and not allow_different_machines:
        machines = "of different machines"
        if old.environment.is_same_machine(new.environment):
            machines = "of one machine, but of workers that came about differently"
        raise StepbenchError(
            f"The runs are {machines} ({'; '.join(differing[:3])}), so their times cannot be compared: "
            "measure both alike, use 'stepbench gate', or look without a verdict with --allow-different-machines."
        )
    cases = compare_cases(old.measurements, new.measurements, threshold, judged=same)
    verdict = min((case.verdict for case in cases), key=_GRAVEST.index)
    return Comparison(
        old=old.run_id, new=new.run_id, verdict=verdict, threshold=threshold, differences=differing, cases=cases
    )


def compare_cases(
    old: Sequence[Measurement], new: Sequence[Measurement], threshold: float, *, judged: bool
) -> tuple[CaseComparison, ...]:
    """Compare all cases that either run has.

    Args:
        old: the earlier run's measurements.
        new: the later run's.
        threshold: the slowdown that matters, as a share.
        judged: whether both are of one machine; else ratios are shown, and nothing is judged.
    """
    before = {measurement.case: measurement for measurement in old}
    after = {measurement.case: measurement for measurement in new}
    cases = tuple(dict.fromkeys((*before, *after)))
    both = [case for case in cases if _is_missing(case, before, after) is None]
    return tuple(_compare(case, before, after, threshold, FALSE_ALARMS / max(1, len(both)), judged) for case in cases)


def _is_missing(case: Case, before: Mapping[Case, Measurement], after: Mapping[Case, Measurement]) -> str | None:
    for where, found in (("old", before.get(case)), ("new", after.get(case))):
        if found is None:
            return f"the {where} run does not have it"
        if found.failure:
            return f"it failed in the {where} run: {found.failure.kind}: {found.failure.message}"
        if not replicate_logs(found):
            return f"the {where} run did not time it"
    return None


def _compare(
    case: Case,
    before: Mapping[Case, Measurement],
    after: Mapping[Case, Measurement],
    threshold: float,
    alpha: float,
    judged: bool,  # noqa: FBT001 - private, and passed on.
) -> CaseComparison:
    if missing := _is_missing(case, before, after):
        return CaseComparison(id=case.id, verdict=ComparisonVerdict.MISSING, ratio=None, why=missing)
    old, new = replicate_logs(before[case]), replicate_logs(after[case])
    ratio = ratio_between(old, new)
    verdict = _judge(old, new, math.log1p(threshold), alpha) if judged else ComparisonVerdict.NOT_JUDGED
    return CaseComparison(id=case.id, verdict=verdict, ratio=ratio)


def _judge(old: Sequence[float], new: Sequence[float], threshold: float, alpha: float) -> ComparisonVerdict:
    reach = _reach(old, new, 1 - alpha)
    if reach is None:
        return ComparisonVerdict.INCONCLUSIVE
    difference = statistics.fmean(new) - statistics.fmean(old)
    if difference >= threshold and difference - reach > 0:
        return ComparisonVerdict.REGRESSION
    if difference <= -threshold and difference + reach < 0:
        return ComparisonVerdict.IMPROVED
    return ComparisonVerdict.PASS if difference + reach < threshold else ComparisonVerdict.INCONCLUSIVE


def ratio_between(old: Sequence[float], new: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """How many times as long the new takes, from independent logarithms of both, with Welch's interval."""
    difference = statistics.fmean(new) - statistics.fmean(old)
    reach = _reach(old, new, (1 + confidence) / 2)
    if reach is None:
        return Estimate(math.exp(difference), None, None, confidence)
    return Estimate(math.exp(difference), math.exp(difference - reach), math.exp(difference + reach), confidence)


def _reach(old: Sequence[float], new: Sequence[float], probability: float) -> float | None:
    """How far a one-sided bound lies from the difference (Welch, Biometrika 34, 1947), freedom rounded down.

    None from so few replicates that nobody knows.
    """
    if min(len(old), len(new)) < 2:  # noqa: PLR2004 - a spread takes two.
        return None
    parts = [statistics.variance(values) / len(values) for values in (old, new)]
    variance = sum(parts)
    if not variance:
        return 0.0
    freedom = variance**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (old, new), strict=True))
    if int(freedom) < FEWEST_DEGREES:
        return None
    return t_quantile(probability, int(freedom)) * math.sqrt(variance)
