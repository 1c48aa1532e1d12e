"""Is head slower than base? Judged from pairs of fresh processes, one number a pair.

The pair is the unit of inference, because two processes of identical code differ more than blocks of one process.
There are few looks, further apart the more pairs there are; each gets an equal share of the chance of a false alarm,
and so does each check and each case (Bonferroni); a suspect must be found again with one more pair of fresh processes.
Cases of one gate borrow their spread from each other: at so small shares of the error, few pairs alone tell nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from stepbench.judge.moderated import NOTHING, Prior, prior_of, spread_of
from stepbench.judge.statistics import Estimate, exponential, from_logs, t_quantile, winsorized_mean
from stepbench.records.gate import Gate, GateCase, GateSettings, Pair, SideFacts, SideName

LOOKS = (4, 6, 9, 13, 19)
"""After how many pairs a case is looked at; once more when the time is up."""
CHECKS = 4
"""The steps' ratio, and the guards that are tested likewise: the total, memory, the first call."""
WINSORIZED = 0.25
"""The share of quads, on either side, that is drawn in: their noise has long tails."""
MISSED = 0.1
"""The chance, over all looks, to pass a case that is slower by the threshold."""
POWER = 0.8
"""With what chance the smallest detectable slowdown is detected."""
MEMORY_SHARE, MEMORY_BYTES = 0.10, 16 * 2**20
FIRST_CALL_SHARE, FIRST_CALL_S = 0.25, 0.2
"""By how much more is more: both the share and the amount."""


class GateVerdict(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password.
    REGRESSION = "regression"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    BROKEN = "broken"


FINDINGS = (GateVerdict.REGRESSION, GateVerdict.BROKEN)


@dataclass(frozen=True)
class Company:
    """What a case is judged beside: the chance of a false alarm is shared, and spread is borrowed."""

    cases: int = 1
    """So many, itself included."""
    prior: Prior = NOTHING


ALONE = Company()


def companies(cases: Sequence[GateCase]) -> tuple[Company, ...]:
    """What each case is judged beside, of as many pairs as it has: what others show later does not judge it anew."""
    logs = [[log_ratio(pair) for pair in case.pairs] for case in cases]
    return tuple(Company(len(cases), prior_of(others[: len(mine)] for others in logs)) for mine in logs)


class CaseJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one case; its JSON is a public contract."""

    id: str
    verdict: GateVerdict
    ratio: Estimate | None
    """Head's step time over base's."""
    smallest_detectable: float | None
    """The slowdown, as a share, that so many pairs find with a chance of about 80 %."""
    pairs: int
    seconds: float
    why: tuple[str, ...] = ()


class GateJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a gate; its JSON is a public contract."""

    schema: int = 1
    verdict: GateVerdict
    threshold: float
    cases: tuple[CaseJudgement, ...]


def judge_gate(gate: Gate) -> GateJudgement:
    """The verdict on every case, and the gravest of them."""
    parts = zip(gate.cases, companies(gate.cases), strict=True)
    cases = tuple(_judged_of(gate, case, company) for case, company in parts)
    gravest = (
        GateVerdict.BROKEN,
        GateVerdict.REGRESSION,
        GateVerdict.INCONCLUSIVE,
        GateVerdict.IMPROVED,
        GateVerdict.PASS,
    )
    verdict = min((case.verdict for case in cases), key=gravest.index)
    return GateJudgement(verdict=verdict, threshold=gate.settings.threshold, cases=cases)


def _judged_of(gate: Gate, case: GateCase, company: Company) -> CaseJudgement:
    """The verdict on a case; of one that is no finding, that the change was not run at all, if so."""
    judged = judge_case(case, gate.settings, company)
    imported = [side.changed_imported for pair in case.pairs for side in (pair.base, pair.head)]
    if not gate.changed or not imported or any(imported) or None in imported or judged.verdict in FINDINGS:
        return judged
    files = "the one file that differs" if gate.changed == 1 else f"any of the {gate.changed} files that differ"
    doubt = f"neither side imported {files}: the change was not run, unless the step reads it as data"
    return msgspec.structs.replace(judged, why=(*judged.why, doubt))


def is_decided(case: GateCase, settings: GateSettings, company: Company = ALONE) -> bool:
    """Whether there is a verdict on a case, at a time when one may be given."""
    logs = [log_ratio(pair) for pair in case.pairs]
    return case.broken is not None or may_stop(logs, judge_case(case, settings, company).verdict, settings)


def may_stop(logs: Sequence[float], verdict: GateVerdict, settings: GateSettings) -> bool:
    """Whether a verdict counts after so many pairs: at a look, or one pair later, which confirms a suspect."""
    if verdict is GateVerdict.PASS:
        improving = statistics.fmean(logs) <= -math.log1p(settings.threshold)
        return len(logs) in LOOKS and not improving  # Whether it has improved takes more pairs to tell.
    confirmed = not {len(logs), len(logs) - 1}.isdisjoint(LOOKS)
    return verdict in (GateVerdict.REGRESSION, GateVerdict.IMPROVED) and confirmed


def judge_case(case: GateCase, settings: GateSettings, company: Company = ALONE) -> CaseJudgement:
    """The verdict on a case."""
    logs = [log_ratio(pair) for pair in case.pairs]
    verdict, why = _judge(case, logs, settings, company)
    return CaseJudgement(
        id=case.case.id,
        verdict=verdict,
        ratio=from_logs(logs),
        smallest_detectable=_smallest_detectable(logs, settings, company),
        pairs=len(case.pairs),
        seconds=math.fsum(pair.seconds for pair in case.pairs),
        why=why,
    )


def is_slower(case: GateCase, settings: GateSettings, company: Company = ALONE) -> bool:
    """Whether a case is a regression whose steps take longer, so that traces can tell why."""
    if judge_case(case, settings, company).verdict is not GateVerdict.REGRESSION:
        return False
    totals = statistics.fmean(math.log(_total(pair, "head") / _total(pair, "base")) for pair in case.pairs)
    return max(totals, statistics.fmean(map(log_ratio, case.pairs))) >= math.log1p(settings.threshold)


def side_step_time(case: GateCase, side: SideName) -> Estimate | None:
    """Seconds a step on one side: the mean over quads, then over pairs, of logarithms, with a Student interval."""
    return from_logs([winsorized_mean(side_logs(pair, side), WINSORIZED) for pair in case.pairs])


def side_logs(pair: Pair, side: SideName) -> list[float]:
    """The logarithm of the seconds a step on one side of each quad of a pair."""
    return [statistics.fmean(map(math.log, getattr(quad, side))) for quad in pair.quads]


def log_ratio(pair: Pair) -> float:
    """The logarithm of head's step time over base's in one pair of processes."""
    base, head = (side_logs(pair, side) for side in SideName)
    return winsorized_mean([mine - theirs for mine, theirs in zip(head, base, strict=True)], WINSORIZED)


def _judge(
    case: GateCase, logs: Sequence[float], settings: GateSettings, company: Company
) -> tuple[GateVerdict, tuple[str, ...]]:
    if case.broken:
        failure = case.broken.failure
        return GateVerdict.BROKEN, (f"{case.broken.side} fails: {failure.kind}: {failure.message}",)
    if len(logs) < LOOKS[0]:
        counted = "1 pair is" if len(logs) == 1 else f"{len(logs)} pairs are"
        return GateVerdict.INCONCLUSIVE, (f"{counted} too few to judge: raise --budget",)
    alpha = _alpha(settings, company.cases)
    verdict, why = judge_steps(logs, settings, company)
    slower = verdict is GateVerdict.REGRESSION
    guarded = _guards(case.pairs, settings, alpha, _proved_twice, totals=not slower)
    if slower or guarded:
        return GateVerdict.REGRESSION, guarded
    if verdict in (GateVerdict.PASS, GateVerdict.IMPROVED):
        suspected = _guards(case.pairs, settings, alpha, _proved)
        why = tuple(f"{what}, which one more pair has to show again: raise --budget" for what in suspected)
        return (GateVerdict.INCONCLUSIVE if suspected else verdict), why
    return verdict, why


def judge_steps(
    logs: Sequence[float], settings: GateSettings, company: Company = ALONE
) -> tuple[GateVerdict, tuple[str, ...]]:
    """The verdict on the steps' time alone, and why, from one log ratio a pair; of at least as many as a look takes."""
    alpha, prior = _alpha(settings, company.cases), company.prior
    threshold = math.log1p(settings.threshold)
    if _proved_twice(logs, threshold, alpha, prior):
        return GateVerdict.REGRESSION, ()
    if _proved_twice([-log for log in logs], threshold, alpha, prior):
        return GateVerdict.IMPROVED, ()
    # It may also pass when the time is up, between two looks.
    if statistics.fmean(logs) + _reach(logs, MISSED / (_looks(settings) + 1), prior) < threshold:
        return GateVerdict.PASS, ()
    spent = len(logs) >= settings.pairs
    remedy = "raise --threshold, or quiet the machine" if spent else "raise --budget or --threshold"
    return GateVerdict.INCONCLUSIVE, (f"neither a slowdown nor its absence is proved: {remedy}",)


def _proved_twice(logs: Sequence[float], threshold: float, alpha: float, prior: Prior = NOTHING) -> bool:
    """Whether a slowdown above zero, and as large as the threshold, is found, and was before the last pair."""
    return len(logs) > LOOKS[0] and all(_proved(seen, threshold, alpha, prior) for seen in (logs, logs[:-1]))


def _proved(logs: Sequence[float], threshold: float, alpha: float, prior: Prior = NOTHING) -> bool:
    mean = statistics.fmean(logs)
    return mean >= threshold and mean - _reach(logs, alpha, prior) > 0


def _reach(logs: Sequence[float], error: float, prior: Prior) -> float:
    """How far a one-sided bound lies from the mean."""
    deviation, degrees = spread_of(logs, prior)
    return t_quantile(1 - error, degrees) * deviation


def _looks(settings: GateSettings) -> int:
    return max(1, sum(look <= settings.pairs for look in LOOKS))


def _alpha(settings: GateSettings, cases: int) -> float:
    return settings.false_alarms / (_looks(settings) * CHECKS * cases)


Proof = Callable[[Sequence[float], float, float], bool]


def _guards(
    pairs: Sequence[Pair], settings: GateSettings, alpha: float, proved: Proof, *, totals: bool = True
) -> tuple[str, ...]:
    """What else than the usual step may be worse: rare slow steps (``totals``), retracing, memory, the first call."""
    found = []
    logs = [math.log(_total(pair, "head") / _total(pair, "base")) for pair in pairs]
    if totals and proved(logs, math.log1p(settings.threshold), alpha):
        found.append(f"all steps together take {math.exp(statistics.fmean(logs)):.3f}× as long")
    if all(pair.head.functions_traced > pair.base.functions_traced for pair in pairs):
        first = pairs[0]
        found.append(f"the step is traced {first.head.functions_traced} times, not {first.base.functions_traced}")
    if _grew(pairs, lambda side: side.peak_memory_bytes, MEMORY_SHARE, MEMORY_BYTES, alpha, proved):
        found.append(f"the peak of memory is {_growth(pairs, lambda side: side.peak_memory_bytes):.2f}× as high")
    if _grew(pairs, lambda side: side.first_call_s, FIRST_CALL_SHARE, FIRST_CALL_S, alpha, proved):
        found.append(f"the first call takes {_growth(pairs, lambda side: side.first_call_s):.2f}× as long")
    return tuple(found)


def _total(pair: Pair, side: str) -> float:
    return math.fsum(seconds for quad in pair.quads for seconds in getattr(quad, side))


Read = Callable[[SideFacts], float]


def _grew(pairs: Sequence[Pair], read: Read, share: float, amount: float, alpha: float, proved: Proof) -> bool:
    if not all(read(pair.base) > 0 and read(pair.head) > 0 for pair in pairs):
        return False
    more = statistics.fmean(read(pair.head) - read(pair.base) for pair in pairs)
    logs = [math.log(read(pair.head) / read(pair.base)) for pair in pairs]
    return more >= amount and proved(logs, math.log1p(share), alpha)


def _growth(pairs: Sequence[Pair], read: Read) -> float:
    return math.exp(statistics.fmean(math.log(read(pair.head) / read(pair.base)) for pair in pairs))


def _smallest_detectable(logs: Sequence[float], settings: GateSettings, company: Company) -> float | None:
    """If others spread as these; by a normal approximation of noncentral t (Abramowitz and Stegun, 1964, 26.7.10)."""
    if len(logs) < LOOKS[0]:
        return None
    pairs = len(logs) if len(logs) in LOOKS else len(logs) - 1  # One more has to confirm what these find.
    spread, freedom = spread_of(logs, company.prior)
    spread, freedom = spread * math.sqrt(len(logs) / pairs), freedom - (len(logs) - pairs)
    beyond = statistics.NormalDist().inv_cdf(POWER)
    needed = t_quantile(1 - _alpha(settings, company.cases), freedom)
    proof = needed * (1 - 1 / (4 * freedom)) + beyond * math.sqrt(1 + needed**2 / (2 * freedom))
    # Beyond zero by so much that the test shows it, and beyond the threshold by so much that the estimate exceeds it.
    return exponential(max(proof * spread, math.log1p(settings.threshold) + beyond * spread)) - 1
