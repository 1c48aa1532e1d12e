"""The command ``gate``: is head slower than base?"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepbench.commands.invocation import command_line
from stepbench.commands.plan import Planned, checked, make_plan
from stepbench.commands.request import Request
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.judge.gate import companies, is_slower, judge_gate
from stepbench.records.cases import Plan
from stepbench.records.gate import Gate, GateCase, GateSettings, SideName
from stepbench.records.progress import Say, Tell, unsaid
from stepbench.records.store import LOGS_FOLDER, TENSORBOARD_FOLDER, Store
from stepbench.report.html.files import REPORT_FILE, leave_page

if TYPE_CHECKING:
    from stepbench.engine.gate import Sides

LONGEST_DEFAULT_S = 720.0
"""The default budget of a gate of many cases."""


@dataclass(frozen=True)
class GateRequest:
    """What a gate is asked for: what to measure, of which two revisions, and when a case is decided."""

    request: Request
    base: str
    head: str | None
    """The working tree, if None."""
    repository: Path
    settings: GateSettings
    budget_s: float | None
    """The settings' own for each case if None, up to a limit."""


def run_gate(asked: GateRequest, store: Store, tell: Tell, say: Say = unsaid) -> Gate:
    """Measure base and head in turn until every case is decided or the budget is spent.

    ``tell`` is told how far it is, ``say`` what there is to say of how workloads were understood.

    Raises:
        InterruptedRunError: on Ctrl-C; the pairs that were measured are on disk.
        StepbenchError: when something that is asked for does not exist, or head has nothing to measure.
    """
    from stepbench.engine.worktrees import checked_out

    request = checked(asked.request)
    with checked_out(asked.repository, asked.base, asked.head) as checkouts:
        sides = dict(zip(SideName, checkouts, strict=True))
        planned = make_plan(request, sides[SideName.HEAD])
        for remark in planned.plan.remarks:
            say(remark)
        keeper = _Keeper(_begin(asked, planned, sides, store), store)
        try:
            _measure(keeper, planned.plan, sides, tell)
        except KeyboardInterrupt:
            keeper.leave_page()
            raise InterruptedRunError(f"Interrupted; the pairs so far are in {keeper.folder}.") from None
    keeper.leave_page()
    return keeper.gate


def _begin(asked: GateRequest, planned: Planned, sides: Sides, store: Store) -> Gate:
    from stepbench.engine.worktrees import commits_between
    from stepbench.probes.environment import collect

    base, head = (sides[side] for side in SideName)
    cases = planned.plan.cases
    budget_s = asked.budget_s or min(LONGEST_DEFAULT_S, asked.settings.budget_s * len(cases))
    gate = Gate(
        gate_id=store.new_id(),
        started=dt.datetime.now(dt.UTC),
        command=command_line(),
        environment=planned.in_environment(collect(asked.repository)),
        data=planned.data,
        base=base.revision,
        head=head.revision,
        commits=commits_between(base, head),
        changed=len(head.changed),
        settings=msgspec.structs.replace(asked.settings, budget_s=budget_s),
        cases=tuple(map(GateCase, cases)),
    )
    store.write_gate(gate)
    return gate


class _Keeper:
    """Writes the gate down whenever a pair is done."""

    def __init__(self, gate: Gate, store: Store) -> None:
        self.gate = gate
        self.folder = store.folder(gate.gate_id)
        self._store = store

    def keep(self, found: GateCase) -> None:
        """Write down what is known of a case."""
        cases = tuple(found if case.case == found.case else case for case in self.gate.cases)
        self.gate = msgspec.structs.replace(self.gate, cases=cases)
        self._store.write_gate(self.gate)

    def leave_page(self) -> None:
        """Beside the gate."""
        leave_page(lambda: draw_page(self.gate, self._store), self.folder / REPORT_FILE)


def _measure(keeper: _Keeper, plan: Plan, sides: Sides, tell: Tell) -> None:
    from stepbench.engine.gate import measure_pairs

    measure_pairs(plan, sides, keeper.gate.settings, keeper.folder / LOGS_FOLDER, keeper.keep, tell)
    _trace_slower(keeper, plan, sides, tell)


def _trace_slower(keeper: _Keeper, plan: Plan, sides: Sides, tell: Tell) -> None:
    """Trace both sides of what is slower; whatever goes wrong costs the explanation, not the verdict."""
    from stepbench.engine.gate_traces import trace_sides

    cases = keeper.gate.cases
    parts = zip(cases, companies(cases), strict=True)
    todo = [found for found, company in parts if is_slower(found, keeper.gate.settings, company)]
    why = ""
    try:
        trace_sides(plan, sides, todo, keeper.folder, keeper.keep, tell)
    except KeyboardInterrupt:
        why = "tracing was interrupted"
    except StepbenchError as error:
        why = str(error).removesuffix(".")
    left = {found.case for found in todo} if why else set()
    for found in keeper.gate.cases:
        if found.case in left and not (found.traces or found.untraced):
            with contextlib.suppress(StepbenchError):  # Kept in memory it can be printed.
                keeper.keep(msgspec.structs.replace(found, untraced=why))
    if todo:
        _show_step_times(keeper.gate, keeper.folder)


def _show_step_times(gate: Gate, folder: Path) -> None:
    """Have TensorBoard's profile plugin show how long the traced steps took."""
    from stepbench.report.tensorboard import mark_as_training

    for trace in (trace for found in gate.cases for trace in found.traces.values()):
        with contextlib.suppress(OSError):
            mark_as_training(folder / trace.path, gate.environment.software.packages.get("xprof"))


def draw_page(gate: Gate, store: Store) -> str:
    """The gate as a page with figures."""
    from stepbench.report.gate import explanations
    from stepbench.report.html.gate import gate_page

    return gate_page(gate, judge_gate(gate), notes(gate, store), explanations(gate))


def notes(gate: Gate, store: Store) -> tuple[str, ...]:
    """What there is to say of a gate beside its verdict: where its traces are, and how often gates are right here."""
    from stepbench.report.calibrate import quote

    known = store.newest_calibration(gate.environment.fingerprint)
    logdir = store.folder(gate.gate_id) / TENSORBOARD_FOLDER
    traced = any(found.traces for found in gate.cases)
    return (
        *([f"the traces of both sides: tensorboard --logdir {logdir}"] if traced else []),
        quote(known),
    )
