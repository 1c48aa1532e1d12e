"""Outside the workers: base and head of cases that are slower traced, for the difference to be explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stepbench.engine.gate import Seat, Sides
from stepbench.engine.profile import Subject, trace_each
from stepbench.engine.worktrees import Checkout
from stepbench.records.cases import Case, Plan, Tracing
from stepbench.records.gate import GateCase, SideName
from stepbench.records.progress import Tell, untold
from stepbench.records.run import Failure
from stepbench.records.store import session_of
from stepbench.records.trace import Trace


def trace_sides(
    plan: Plan,
    sides: Sides,
    found: Sequence[GateCase],
    folder: Path,
    keep: Callable[[GateCase], None],
    tell: Tell = untold,
) -> None:
    """Trace each case on both sides, case by case.

    Args:
        plan: the gate's.
        sides: the two revisions.
        found: what the gate measured of the cases to trace.
        folder: the gate's, for logs and traces.
        keep: given each case once it is traced, with what its traces hold or why one is lacking.
        tell: told how far it is.

    Raises:
        StepbenchError: when logs or traces cannot be written.
    """
    for case in found:
        keep(_traced(plan, sides, case, folder, tell))


def _traced(plan: Plan, sides: Sides, found: GateCase, folder: Path, tell: Tell) -> GateCase:
    traces: dict[SideName, Trace] = {}
    failures: list[str] = []
    subjects = {_subject(plan, found.case, name, sides[name]): name for name in SideName}

    def take(subject: Subject, outcome: Trace | Failure) -> None:
        side = subjects[subject]
        if isinstance(outcome, Failure):
            failures.append(f"{side} could not be traced: {outcome.kind}: {outcome.message}")
        else:
            traces[side] = outcome

    trace_each(list(subjects), Tracing(), folder, take, tell)
    return msgspec.structs.replace(found, traces=traces, untraced="; ".join(failures))


def _subject(plan: Plan, case: Case, name: SideName, checkout: Checkout) -> Subject:
    return Subject(
        case=case,
        plan=checkout.plan(plan),
        name=str(Seat(case, name)),
        session=f"{session_of(case.id)}-{name}",
        surroundings=checkout.surroundings(case.settings),
    )
