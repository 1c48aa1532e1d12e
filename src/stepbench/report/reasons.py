"""Why a recommendation is what it is: sentences without a full stop, only from what the run holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from stepbench.judge.breakdown import Breakdown, break_down
from stepbench.judge.recommend import Choice
from stepbench.judge.statistics import speedup
from stepbench.judge.training import Verdict
from stepbench.records.cases import Case, Precision, Variant
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.advice import slow_paths
from stepbench.report.case_summary import CaseSummary
from stepbench.report.explain import explained, headline, main_line, traced
from stepbench.report.warnings import emulation

NAMED = 3
"""Cases that one sentence names."""
LOSING_EXECUTIONS = 2
"""Of which it is said why they lose."""


@dataclass(frozen=True)
class Group:
    """The cases of one workload, device and batch size, and what to choose of them."""

    run: Run
    measurements: Mapping[Case, Measurement]
    summaries: Mapping[Case, CaseSummary]
    choice: Choice

    @property
    def reference(self) -> Case | None:
        """The reference, if it was timed."""
        reference = next(iter(self.measurements)).reference
        return reference if reference in self.summaries and self.summaries[reference].step_time_s else None


def reasons(group: Group) -> tuple[str, ...]:
    """What speaks for the best and against the others, most important first."""
    if not group.choice.best or group.choice.is_rough:
        return ()
    found = (
        _reservations(group),
        _cause(group),
        _lead(group),
        _losing_executions(group),
        _losing_half(group),
        _emulated(group),
    )
    return tuple(sentence for sentences in found for sentence in sentences)


def label(case: Case) -> str:
    """What tells a case from the others of its group."""
    return f"{case.variant}{case.suffix}"


def listed(cases: Sequence[Case], word: str) -> str:
    """``a, b or c``; of many the first few and how many more."""
    names = [label(case) for case in cases[:NAMED]]
    if len(cases) > NAMED:
        names.append(f"{len(cases) - NAMED} more")
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _reservations(group: Group) -> Iterator[str]:
    """What is faster, but converges differently, or may."""
    for is_different, singular, plural in (
        (True, "converges differently", "converge differently"),
        (False, "is not shown to converge alike", "are not shown to converge alike"),
    ):
        found = [other for other in group.choice.faster if _is_different(group, other.case) == is_different]
        if len(found) == 1:
            (other,) = found
            times = formats.estimate(other.ratio.inverse(1.0), unit="×")
            because = "".join(f": {reason}" for reason in group.summaries[other.case].equivalence.why[:1])
            yield f"{label(other.case)} is faster, {times}, but {singular}{because}"
        elif found:
            yield f"{listed([other.case for other in found], 'and')} are faster, but {plural}"


def _cause(group: Group) -> Iterator[str]:
    """What the best saves against the reference."""
    best = group.choice.best
    if group.reference and group.reference not in best:
        yield from _difference(group, best[0], group.reference)


def _difference(group: Group, faster: Case, slower: Case) -> Iterator[str]:
    """By how much and mainly for what one case is faster than another, if their traces tell.

    Where the traces differ otherwise than the timings do, the cause must be larger than that.
    """
    one, other = group.measurements[faster], group.measurements[slower]
    if one.trace and other.trace:
        what = explained(traced(group.run, one), traced(group.run, other))
        main, off = main_line(what), abs(what.traced_difference_s - what.difference_s)
        if main and (not what.doubts or abs(main.difference_s) > off):
            yield headline(what)


def _lead(group: Group) -> Iterator[str]:
    """How far ahead of the next the best is, and when its first call pays back."""
    best, parts = group.choice.best[0], []
    follower = next((other for other in group.choice.slower if not _is_different(group, other.case)), None)
    if follower and follower.case != group.reference:
        parts.append(f"is {formats.estimate(follower.ratio, unit='×')} as fast as the next, {label(follower.case)}")
    steps = group.summaries[best].break_even_steps
    if steps is not None and group.reference and group.reference not in group.choice.best:
        no_longer = f"takes no longer than {label(group.reference)} for its first call"
        parts.append(f"pays back its longer first call after {formats.steps(steps)}" if steps else no_longer)
    if parts:
        yield f"{label(best)} {', and '.join(parts)}"


def _losing_executions(group: Group) -> Iterator[str]:
    """Why the fastest case of each other execution loses; of the reference's more is said already."""
    best = group.choice.best
    fastest: dict[str, Case] = {}
    for other in group.choice.slower:
        if not _is_different(group, other.case):
            fastest.setdefault(other.case.variant.execution, other.case)
    for case in (*best, group.reference):
        if case:
            fastest.pop(case.variant.execution, None)
    for loser in list(fastest.values())[:LOSING_EXECUTIONS]:
        yield from _loss(group, loser)


def _loss(group: Group, loser: Case) -> Iterator[str]:
    """Against the best's execution at the same precision, so that they differ in one thing; else against the best."""
    best = group.choice.best[0]
    variant = Variant(best.variant.execution, loser.variant.precision)
    twins = (case for case in group.measurements if case.variant == variant and _is_faster(group, case, loser))
    winner = next(twins, best)
    one, other = (_broken_down(group, case) for case in (loser, winner))
    paths = slow_paths(loser, one, other) if one and other else ()
    if paths:
        yield f"{label(loser)} {paths[0]} in {label(winner)}"
    else:
        yield from _difference(group, winner, loser)


def _losing_half(group: Group) -> Iterator[str]:
    """Why the slowest half precision takes longer than float32, though the device can compute in it."""
    native = [(one, half) for one, half in _losing_halves(group) if not emulation(half, group.run.environment.cpu)]
    for single, half in native[-1:]:
        yield from _difference(group, single, half)


def _losing_halves(group: Group) -> Iterator[tuple[Case, Case]]:
    """Cases in half precision that are slower than the same execution in float32, which comes first."""
    for case in (other.case for other in group.choice.slower):
        single = msgspec.structs.replace(case, variant=Variant(case.variant.execution, Precision.FLOAT32))
        if single != case and single in group.measurements and _is_faster(group, single, case):
            yield single, case


def _emulated(group: Group) -> Iterator[str]:
    """Half precisions that this CPU has no instructions for, and that are slower than float32 here."""
    found: dict[str, list[Case]] = {}
    for _, case in _losing_halves(group):
        if said := emulation(case, group.run.environment.cpu):
            found.setdefault(said, []).append(case)
    for said, cases in found.items():
        yield f"{said}: {listed(cases, 'and')} {'is' if len(cases) == 1 else 'are'} slower than float32"


def _is_different(group: Group, case: Case) -> bool:
    return group.summaries[case].equivalence.verdict is Verdict.DIFFERENT


def _is_faster(group: Group, one: Case, other: Case) -> bool:
    """Whether it is shown to be, by their paired rounds."""
    ratio = speedup(group.measurements[one], group.measurements[other])
    return ratio is not None and ratio.low is not None and ratio.low > 1


def _broken_down(group: Group, case: Case) -> Breakdown | None:
    trace, timed = group.measurements[case].trace, group.summaries[case].step_time_s
    return break_down(trace, timed.value) if trace and timed else None
