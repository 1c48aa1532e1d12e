"""The command ``gate``: is head slower than base?"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepbench.commands.case_names import matching
from stepbench.commands.plan import Request, check_execution, select
from stepbench.commands.run import command_line
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.judge.gate import is_slower, judge_gate
from stepbench.records.cases import Case, Device, Plan
from stepbench.records.gate import Gate, GateCase, GateSettings, SideName
from stepbench.records.store import LOGS_FOLDER, TENSORBOARD_FOLDER, Store
from stepbench.report.html.files import REPORT_FILE, leave_page

if TYPE_CHECKING:
    from stepbench.engine.gate import SidePlan, Sides
    from stepbench.engine.worktrees import Side
    from stepbench.records.progress import Progress
    from stepbench.records.protocol import Described

LONGEST_DEFAULT_S = 720.0
"""The default budget of a gate of many cases."""


@dataclass(frozen=True)
class GateRequest:
    """What a gate is asked for."""

    base: str
    head: str | None
    repository: Path
    request: Request
    only: tuple[str, ...]
    """Names of cases; all of the request's if empty."""
    settings: GateSettings
    budget_s: float | None


def run_gate(asked: GateRequest, store: Store, report: Callable[[Progress], None]) -> Gate:
    """Measure base and head in turn until every case is decided or the budget is spent.

    Raises:
        InterruptedRunError: on Ctrl-C; the pairs that were measured are on disk.
        StepbenchError: when something that is asked for does not exist, or head has nothing to measure.
    """
    from stepbench.engine.gate import measure_pairs
    from stepbench.engine.worktrees import checked_out, commits_between
    from stepbench.probes.environment import collect

    for execution in asked.request.executions:
        check_execution(execution, asked.request.plugins)
    select(asked.request, ("unnamed",), asked.request.devices or (Device.CPU,))  # Shows before the wait.
    asked = replace(asked, request=replace(asked.request, data=_absolute(asked.request.data)))
    with checked_out(asked.repository, asked.base, asked.head) as (base, head):
        described = _describe(head, asked)
        cases = _cases(asked, described)
        gate = Gate(
            gate_id=store.new_id(),
            started=dt.datetime.now(dt.UTC),
            command=command_line(),
            environment=collect(asked.repository),
            data=described.data,
            base=base.revision,
            head=head.revision,
            commits=commits_between(head, base.revision, head.revision),
            settings=_settings(asked, cases),
            cases=tuple(map(GateCase, cases)),
        )
        store.write_gate(gate)
        sides = {side: _plan(at, asked, described, cases) for side, at in zip(SideName, (base, head), strict=True)}
        keeper = _Keeper(gate, store)
        logs = store.folder(gate.gate_id) / LOGS_FOLDER
        try:
            measure_pairs(sides, cases, gate.settings, logs, keeper.keep, report)
        except KeyboardInterrupt:
            leave_page(lambda: draw_page(keeper.gate, store), store.folder(gate.gate_id) / REPORT_FILE)
            raise InterruptedRunError(f"Interrupted; the pairs so far are in {store.folder(gate.gate_id)}.") from None
        _trace_slower(keeper, sides, store.folder(gate.gate_id), report)
    leave_page(lambda: draw_page(keeper.gate, store), store.folder(gate.gate_id) / REPORT_FILE)
    return keeper.gate


def draw_page(gate: Gate, store: Store) -> str:
    """The gate as a page with figures."""
    from stepbench.report.gate import explanations
    from stepbench.report.html.gate import gate_page

    return gate_page(gate, judge_gate(gate), notes(gate, store), explanations(gate))


class _Keeper:
    """Writes the gate down whenever a pair is done."""

    def __init__(self, gate: Gate, store: Store) -> None:
        self.gate = gate
        self._store = store

    def keep(self, found: GateCase) -> None:
        cases = tuple(found if case.case == found.case else case for case in self.gate.cases)
        self.gate = msgspec.structs.replace(self.gate, cases=cases)
        self._store.write_gate(self.gate)


def _trace_slower(keeper: _Keeper, sides: Sides, folder: Path, report: Callable[[Progress], None]) -> None:
    """Trace both sides of what is slower; whatever goes wrong costs the explanation, not the verdict."""
    from stepbench.engine.gate_traces import trace_sides

    cases = keeper.gate.cases
    todo = [found for found in cases if is_slower(found, keeper.gate.settings, len(cases))]
    why = ""
    try:
        trace_sides(sides, todo, folder, keeper.keep, report)
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
        _show_step_times(keeper.gate, folder)


def _show_step_times(gate: Gate, folder: Path) -> None:
    """Have TensorBoard's profile plugin show how long the traced steps took."""
    from stepbench.report.tensorboard import mark_as_training

    for trace in (trace for found in gate.cases for trace in found.traces.values()):
        with contextlib.suppress(OSError):
            mark_as_training(folder / trace.path, gate.environment.software.packages.get("xprof"))


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


def _describe(head: Side, asked: GateRequest) -> Described:
    from stepbench.engine.pool import describe
    from stepbench.records.protocol import Describe

    request = asked.request
    locators = tuple(_located(name, asked.repository, head) for name in request.workloads)
    plugins = tuple(_located(name, asked.repository, head) for name in request.plugins)
    with tempfile.TemporaryDirectory(prefix="stepbench-") as logs:
        order = Describe(locators, request.executions, plugins, request.data)
        return describe(order, Path(logs), head.environment, head.root)


def _located(name: str, repository: Path, side: Side) -> str:
    """The place of a workload or plugin on one side: a file of the repository is that side's file."""
    file, colon, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = Path(file)
    if not file.endswith(".py"):
        return name
    from stepbench.engine.worktrees import root_of

    root = root_of(repository)
    if not path.is_relative_to(root):
        return name
    return f"{side.root / path.relative_to(root)}{colon}{attribute}"


def _absolute(data: str) -> str:
    """Check ``--data`` before the wait; a relative folder is made absolute, since each side works in its own."""
    from stepbench.training.data import resolve_source

    return data if data in ("auto", "cifar10", "synthetic") else str(resolve_source(data).folder)


def _cases(asked: GateRequest, described: Described) -> tuple[Case, ...]:
    present = tuple(map(Device, described.devices))
    devices = asked.request.devices or present
    if missing := set(devices) - set(present):
        raise StepbenchError(f"TensorFlow sees no {missing.pop()} here: use --device {present[0]}.")
    cases = select(asked.request, tuple(described.workloads), devices)
    if not asked.only:
        return cases
    for name in asked.only:
        if not matching(name, cases):
            raise StepbenchError(f"--cases names {name!r}, which no case is: use an id such as {cases[0].id}.")
    return tuple(case for case in cases if any(case in matching(name, cases) for name in asked.only))


def _settings(asked: GateRequest, cases: tuple[Case, ...]) -> GateSettings:
    budget_s = asked.budget_s or min(LONGEST_DEFAULT_S, asked.settings.budget_s * len(cases))
    return msgspec.structs.replace(asked.settings, budget_s=budget_s)


def _plan(side: Side, asked: GateRequest, described: Described, cases: tuple[Case, ...]) -> SidePlan:
    from stepbench.engine.gate import SidePlan

    request = asked.request
    located = functools.partial(_located, repository=asked.repository, side=side)
    places = dict(zip(described.workloads, request.workloads, strict=True))
    plan = Plan(
        cases=cases,
        workloads={name: located(place) for name, place in places.items()},
        data=described.data if request.data == "auto" else request.data,
        plugins=tuple(map(located, request.plugins)),
        timeout_s=request.timeout_s,
        seed=request.seed,
    )
    return SidePlan(side, plan)
