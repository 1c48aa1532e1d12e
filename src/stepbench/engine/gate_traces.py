"""Outside the workers: base and head of cases that are slower traced, for the difference to be explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stepbench.engine.gate import Seat, SidePlan, Sides
from stepbench.engine.profile import Report, Subject, trace_each
from stepbench.records.cases import Case, Tracing
from stepbench.records.gate import GateCase, SideName
from stepbench.records.run import Failure
from stepbench.records.store import session_of
from stepbench.records.trace import Trace


def trace_sides(
    sides: Sides,
    found: Sequence[GateCase],
    folder: Path,
    keep: Callable[[GateCase], None],
    report: Report = lambda _: None,
) -> None:
    """Trace each case on both sides, case by case.

    Args:
        sides: the two revisions.
        found: what the gate measured of the cases to trace.
        folder: the gate's, for logs and traces.
        keep: given each case once it is traced, with what its traces hold or why one is lacking.
        report: told how far it is.

    Raises:
        StepbenchError: when logs or traces cannot be written.
    """
    for case in found:
        keep(_traced(sides, case, folder, report))


def _traced(sides: Sides, found: GateCase, folder: Path, report: Report) -> GateCase:
    traces: dict[SideName, Trace] = {}
    failures: list[str] = []
    subjects = {_subject(found.case, name, sides[name]): name for name in SideName}

    def take(subject: Subject, outcome: Trace | Failure) -> None:
        side = subjects[subject]
        if isinstance(outcome, Failure):
            failures.append(f"{side} could not be traced: {outcome.kind}: {outcome.message}")
        else:
            traces[side] = outcome

    trace_each(list(subjects), Tracing(), folder, take, report)
    return msgspec.structs.replace(found, traces=traces, untraced="; ".join(failures))


def _subject(case: Case, name: SideName, side: SidePlan) -> Subject:
    return Subject(
        case=case,
        plan=side.plan,
        name=str(Seat(case, name)),
        session=f"{session_of(case.id)}-{name}",
        environment=side.side.environment,
        root=side.side.root,
    )
