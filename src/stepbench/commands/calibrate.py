"""The command ``calibrate``: gates of identical code and of planted slowdowns, to see how often they are right here."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stepbench.commands.invocation import command_line
from stepbench.commands.plan import make_plan
from stepbench.commands.request import Request
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.records.cases import Device
from stepbench.records.gate import Calibration, CalibrationGate, GateCase, GateSettings, Revision, SideName
from stepbench.records.progress import Tell
from stepbench.records.store import LOGS_FOLDER, Store


@dataclass(frozen=True)
class CalibrationRequest:
    """What a calibration is asked for."""

    request: Request
    slowdowns: tuple[float, ...]
    """Of a calibration that goes on, those that it had if empty."""
    settings: GateSettings
    budget_s: float
    resume: str | None


def calibrate(asked: CalibrationRequest, store: Store, tell: Tell) -> Calibration:
    """Run gates, the planted slowdowns in turn, until the budget is spent; go on with an earlier calibration if asked.

    Raises:
        InterruptedRunError: on Ctrl-C; the gates that were run are on disk.
        StepbenchError: when what is asked for does not exist, is more than one case, or is of another machine.
    """
    calibration = _continued(asked, asked.resume, store) if asked.resume else _begin(asked, store)
    ends = time.monotonic() + asked.budget_s
    longest = 0.0
    try:
        while time.monotonic() + longest < ends:
            started = time.monotonic()
            slowdown = _next(calibration)
            gate = CalibrationGate(slowdown, _run(calibration, slowdown, tell))
            calibration = msgspec.structs.replace(calibration, gates=(*calibration.gates, gate))
            store.write_calibration(calibration)
            longest = max(longest, time.monotonic() - started)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; {len(calibration.gates)} gates are kept: "
            f"continue with 'stepbench calibrate --resume {calibration.calibration_id}'."
        ) from None
    return calibration


def _continued(asked: CalibrationRequest, name: str, store: Store) -> Calibration:
    from stepbench.probes.environment import collect

    calibration = store.read_calibration(name)
    if not calibration.environment.is_same_machine(collect(Path.cwd())):
        raise StepbenchError(f"Calibration {name} is of another machine, whose gates err otherwise: begin a new one.")
    return msgspec.structs.replace(calibration, slowdowns=asked.slowdowns or calibration.slowdowns)


def _begin(asked: CalibrationRequest, store: Store) -> Calibration:
    from stepbench.probes.environment import collect

    planned = make_plan(asked.request)
    if any(case.device is not Device.CPU for case in planned.plan.cases):
        raise StepbenchError("A slowdown can be planted on a CPU only: use --device cpu.")
    if len(planned.plan.cases) != 1:
        raise StepbenchError(
            f"A calibration is of one case, not of {len(planned.plan.cases)}: name one --execution and one --precision."
        )
    calibration = Calibration(
        calibration_id=store.new_id(),
        started=dt.datetime.now(dt.UTC),
        command=command_line(),
        environment=planned.in_environment(collect(Path.cwd())),
        plan=planned.plan,
        slowdowns=asked.slowdowns,
        settings=asked.settings,
    )
    store.write_calibration(calibration)
    return calibration


def _next(calibration: Calibration) -> float:
    """The slowdown of which there are fewest gates so far."""
    done = [gate.slowdown for gate in calibration.gates]
    return min(calibration.slowdowns, key=done.count)


def _run(calibration: Calibration, slowdown: float, tell: Tell) -> GateCase:
    from stepbench.engine.gate import measure_pairs
    from stepbench.engine.worktrees import Checkout

    sides = dict.fromkeys(SideName, Checkout(Revision("", ""), Path.cwd()))
    # Pairs are numbered, and ordered at random by their number and the seed: each gate is to have an order of its own.
    plan = msgspec.structs.replace(calibration.plan, seed=calibration.plan.seed + len(calibration.gates))
    with tempfile.TemporaryDirectory(prefix="stepbench-") as folder:
        logs = Path(folder) / LOGS_FOLDER
        (found,) = measure_pairs(plan, sides, calibration.settings, logs, lambda _: None, tell, slowdown=slowdown)
    if found.broken:
        raise StepbenchError(f"The case fails ({found.broken.failure.message}): calibrate one that runs.")
    return found
