"""What to use for a workload on a device, and why, from evidence in the run alone; its JSON is public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stepbench.judge.recommend import choose
from stepbench.judge.training import Verdict
from stepbench.records.cases import Device
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.reasons import Group, label, listed, reasons


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """What to use for one workload on one device, and why."""

    workload: str
    device: str
    best: tuple[str, ...]
    """The ids of the fastest cases that converge alike: several where none of them is shown to be slower."""
    headline: str
    """One sentence without a full stop."""
    is_rough: bool = False
    """Whether replicates were too few to choose among the best, which may be far apart."""
    why: tuple[str, ...] = ()
    """Sentences without a full stop, each from evidence in the run."""

    @property
    def title(self) -> str:
        """What it is about."""
        return f"{self.workload} on {self.device}: what to use"


def recommend(run: Run, cases: Sequence[CaseSummary]) -> tuple[Recommendation, ...]:
    """What to use for each workload and device of ``run`` that several cases were timed of.

    The batch size changes what is learnt, so cases are compared within one: the first one planned that has a
    reference. Of the others it is said what throughput they bring.

    Args:
        run: as it was measured.
        cases: the summaries of its cases.
    """
    places: dict[tuple[str, str], dict[int, Group]] = {}
    for (workload, device, batch_size), group in _groups(run, cases).items():
        places.setdefault((workload, device.value), {})[batch_size] = group
    return tuple(_recommend(*place, by_batch_size) for place, by_batch_size in sorted(places.items()))


def _groups(run: Run, cases: Sequence[CaseSummary]) -> dict[tuple[str, Device, int], Group]:
    """The groups of cases that leave a choice, in the order in which they were planned."""
    by_id = {case.id: case for case in cases}
    members: dict[tuple[str, Device, int], list[Measurement]] = {}
    for measurement in run.measurements:
        members.setdefault(measurement.case.group, []).append(measurement)
    found = {}
    for name, measurements in members.items():
        summaries = {measurement.case: by_id[measurement.case.id] for measurement in measurements}
        choice = choose(measurements, {case: summary.equivalence for case, summary in summaries.items()})
        if choice:
            found[name] = Group(run, {one.case: one for one in measurements}, summaries, choice)
    return found


def _recommend(workload: str, device: str, by_batch_size: Mapping[int, Group]) -> Recommendation:
    with_reference = (size for size, group in by_batch_size.items() if group.reference)
    batch_size = next(with_reference, next(iter(by_batch_size)))
    group = by_batch_size[batch_size]
    at = f" at batch size {batch_size}" if len(by_batch_size) > 1 else ""
    return Recommendation(
        workload=workload,
        device=device,
        best=tuple(case.id for case in group.choice.best),
        headline=_headline(group, at),
        is_rough=group.choice.is_rough,
        why=(*reasons(group), *_throughputs(by_batch_size)),
    )


def _headline(group: Group, at: str) -> str:
    best = group.choice.best
    if not best:
        return f"no recommendation{at}: {_why_none(group)}"
    if group.choice.is_rough:
        return f"too few replicates to choose{at} among {listed(best, 'and')}: measure again with more --replicates"
    tie = ", a tie" if len(best) > 1 else ""
    names = f"{listed(best, 'or')}{at}{tie}"
    verdicts = {group.summaries[case].equivalence.verdict for case in best}
    if group.reference in best:
        alike = " and to converge alike" if verdicts == {Verdict.EQUIVALENT} else f", {_convergence(verdicts)}"
        return f"{names}: nothing else is shown to be faster{alike}"
    return f"{names}: {_speed(group)}, {_convergence(verdicts)}"


def _why_none(group: Group) -> str:
    fastest = group.choice.fastest
    if fastest is None:
        return "everything that was timed converges differently"
    return f"so few replicates give no interval ({label(fastest)} was fastest); measure again with more --replicates"


def _convergence(verdicts: set[Verdict]) -> str:
    if verdicts == {Verdict.EQUIVALENT}:
        return "equivalent"
    return "convergence not checked" if verdicts == {Verdict.NOT_CHECKED} else "not shown to converge alike"


def _speed(group: Group) -> str:
    """Of the best, as a multiple of the reference's if it was timed; of the first and the last of those tied."""
    best = [group.summaries[case] for case in group.choice.best]
    ends = best[:1] if len(best) == 1 else [best[0], best[-1]]
    to = " and " if len(best) == 2 else " to "  # noqa: PLR2004 - two are all of them.
    if not all(case.speedup for case in ends):
        return f"{to.join(formats.estimate(case.step_time_s, scale=1e3) for case in ends)} ms a step"
    times = to.join(formats.estimate(case.speedup, unit="×") for case in ends)
    return f"{times} as fast as {label(group.choice.best[0].reference)}"


def _throughputs(by_batch_size: Mapping[int, Group]) -> tuple[str, ...]:
    """What the best of each batch size bring, if there are several."""
    found = {size: group.choice.best[0] for size, group in by_batch_size.items() if group.choice.best}
    if len(found) < 2:  # noqa: PLR2004 - several.
        return ()
    throughputs = {size: by_batch_size[size].summaries[case].throughput for size, case in found.items()}
    listing = "; ".join(
        f"{formats.estimate(throughputs[size])} at batch size {size} ({label(case)})" for size, case in found.items()
    )
    return (f"examples a second: {listing}; but another batch size learns differently",)
