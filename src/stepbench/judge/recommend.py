"""Which of the cases that were measured side by side to use, as far as the measurements tell.

The fastest is compared with each of the others by the paired interval of their ratio. With n cases these n - 1
intervals have a confidence of 1 - 0.05/(n - 1) each (Bonferroni). The truly fastest is passed over only if one of its
own n - 1 comparisons errs, so it is among ``best`` with a chance of at least 95 %, whichever looks fastest. This is
subset selection (Gupta, Technometrics 7, 1965); Hsu's multiple comparisons with the best (Annals of Statistics 12,
1984) are sharper, with a quantile that takes an integral where this takes a division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stepbench.judge.compare import ratio_between
from stepbench.judge.moderated import speedups
from stepbench.judge.statistics import CONFIDENCE, Estimate, replicate_logs, step_time
from stepbench.judge.training import Equivalence, Verdict
from stepbench.records.cases import Case
from stepbench.records.run import Measurement

FEWEST_REPLICATES = 2
"""One alone says nothing of its spread, not even beside others."""
TIED = 1.25
"""A tie is of cases none of which may be so many times slower than the first; else there was too little to tell."""


class Compared(msgspec.Struct, frozen=True):
    """A case beside the first of the best."""

    case: Case
    ratio: Estimate
    """How many times faster than this one the best is, with an interval that allows for all comparisons."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What to choose among the cases of one workload, device and batch size; all are fastest first."""

    fastest: Case | None
    """By its step time alone, of those that do not converge differently; None where all do."""
    best: tuple[Case, ...] = ()
    """The fastest that is shown to converge alike (if none is, that may), and all such that are not shown to be slower.

    Empty where replicates are too few for any interval, or all converge differently.
    """
    is_rough: bool = False
    """Whether some of ``best`` are there for want of replicates: they may be far slower than the first."""
    slower: tuple[Compared, ...] = ()
    """Shown to be slower than the first of ``best``, however they converge."""
    faster: tuple[Compared, ...] = ()
    """Shown to be faster than the first of ``best``, but not to converge alike."""


def choose(measurements: Sequence[Measurement], verdicts: Mapping[Case, Equivalence]) -> Choice | None:
    """Choose among the cases of one group; None where there is no choice, as fewer than two were timed."""
    timed = sorted((found for found in measurements if _is_timed(found)), key=_step_seconds)
    if len(timed) < 2:  # noqa: PLR2004 - a choice takes two.
        return None
    allowed = [found for found in timed if verdicts[found.case].verdict is not Verdict.DIFFERENT]
    fastest = allowed[0].case if allowed else None
    eligible = [found for found in allowed if _has_interval(found)]
    alike = [found for found in eligible if verdicts[found.case].verdict is Verdict.EQUIVALENT]
    preferred = [found.case for found in alike or eligible]
    if not preferred:
        return Choice(fastest=fastest)
    first = (alike or eligible)[0]
    compared = _compare(first, [found for found in timed if _has_interval(found)])
    known = {other.case: other.ratio for other in compared if other.ratio.low is not None}
    if compared and not known:
        return Choice(fastest=fastest)
    slower = tuple(other for other in compared if (other.ratio.low or 0.0) > 1)
    faster = tuple(other for other in compared if (other.ratio.high or 1.0) < 1 and other.case not in preferred)
    beaten = {other.case for other in slower}
    best = tuple(case for case in preferred if case not in beaten)
    is_rough = any(case not in known or (known[case].high or 1.0) > TIED for case in best if case != first.case)
    return Choice(fastest=fastest, best=best, is_rough=is_rough, slower=slower, faster=faster)


def _compare(best: Measurement, timed: Sequence[Measurement]) -> list[Compared]:
    """``best`` with each of the others: by rounds where they ran interleaved, else as independent replicates."""
    others = [found for found in timed if found.case != best.case]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(others))
    paired = speedups(others, best, confidence)
    return [
        Compared(
            found.case,
            paired[found.case].inverse(1.0)
            if found.case in paired
            else ratio_between(replicate_logs(best), replicate_logs(found), confidence),
        )
        for found in others
    ]


def _is_timed(measurement: Measurement) -> bool:
    return not measurement.failure and bool(replicate_logs(measurement))


def _has_interval(measurement: Measurement) -> bool:
    return len(replicate_logs(measurement)) >= FEWEST_REPLICATES


def _step_seconds(measurement: Measurement) -> float:
    estimate = step_time(measurement)
    assert estimate, "asked only of cases that were timed"
    return estimate.value
