"""Runs on disk: ``results/<run-id>/`` with ``run.json``, and a journal while a run is unfinished.

``run.json`` is written whole at the start, once the devices are measured, and at the end, each time through a rename.
In between, events go to ``journal.jsonl``, so that an interrupted run loses nothing that was measured. Reading folds
the journal in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from pathlib import Path

import msgspec

from stepbench.errors import StepbenchError
from stepbench.records.cases import Plan
from stepbench.records.gate import Calibration, Gate
from stepbench.records.machine import Environment
from stepbench.records.run import Attainable, Measurement
from stepbench.records.store import files
from stepbench.records.store.journal import read_journal
from stepbench.records.store.names import (
    BASELINES_FOLDER,
    CALIBRATION_FILE,
    GATE_FILE,
    JOURNAL_FILE,
    LATEST,
    RUN_FILE,
    TUNED_FILE,
)
from stepbench.records.tune import Race


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation and all that it measured."""

    schema: int = files.SCHEMA
    run_id: str
    started: dt.datetime
    finished: dt.datetime | None = None
    """Null until all that was planned is measured."""
    command: tuple[str, ...]
    data: str
    """The data set's name, such as ``cifar10``."""
    environment: Environment
    plan: Plan
    measurements: tuple[Measurement, ...] = ()
    attainable: tuple[Attainable, ...] = ()
    """What each device attained."""


class Store:
    """The folder that holds runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, run_id: str) -> Path:
        """Where a run of that id lies."""
        return self.root / run_id

    def check_writable(self) -> None:
        """Find out before the work, not after it.

        Raises:
            StepbenchError: when runs cannot be written here.
        """
        probe = self.root / f".{secrets.token_hex(4)}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(bytes(1 << 16))
        except OSError as error:
            raise files.unwritable(self.root, error, "choose a folder that can be written with --results") from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)

    def create(self, plan: Plan, environment: Environment, *, command: tuple[str, ...], data: str) -> Run:
        """Begin a run in a folder of its own.

        Raises:
            StepbenchError: when the folder cannot be written.
        """
        started, run_id = dt.datetime.now(dt.UTC), self.new_id()
        run = Run(run_id=run_id, started=started, command=command, data=data, environment=environment, plan=plan)
        self.write(run)
        self._point_latest_to(run_id)
        return run

    def new_id(self) -> str:
        """An id for a run, or for a gate, that begins now."""
        return f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"

    def write_gate(self, gate: Gate) -> None:
        """Write a gate whole, as far as it is.

        Raises:
            StepbenchError: when it cannot be written.
        """
        files.write(self.folder(gate.gate_id) / GATE_FILE, files.encode(gate))

    def write_calibration(self, calibration: Calibration) -> None:
        """Write a calibration whole, as far as it is.

        Raises:
            StepbenchError: when it cannot be written.
        """
        files.write(self.folder(calibration.calibration_id) / CALIBRATION_FILE, files.encode(calibration))

    def read_calibration(self, name: str) -> Calibration:
        """Read a calibration by its id.

        Raises:
            StepbenchError: when there is none, or it cannot be understood.
        """
        path = self.folder(name) / CALIBRATION_FILE
        if not files.is_file(path):
            raise StepbenchError(
                f"There is no calibration {name!r} in {self.root}: begin one with 'stepbench calibrate'."
            )
        found = files.decode(path, Calibration)
        _check_place(path, "calibration", found.calibration_id)
        return found

    def write_race(self, race: Race) -> None:
        """Write a race whole, as far as it is, beside its run.

        Raises:
            StepbenchError: when it cannot be written.
        """
        files.write(self.folder(race.run_id) / TUNED_FILE, files.encode(race))

    def read_race(self, run_id: str) -> Race:
        """The race of a run.

        Raises:
            StepbenchError: when it has none, or it cannot be understood.
        """
        path = self.folder(run_id) / TUNED_FILE
        if not files.is_file(path):
            raise StepbenchError(f"The run {run_id} is no race: begin one with 'stepbench tune'.")
        found = files.decode(path, Race)
        _check_place(path, "run", found.run_id)
        return found

    def newest_race(self) -> Race:
        """The newest race that ended.

        Raises:
            StepbenchError: when there is none.
        """
        for path in sorted(self.root.glob(f"[!.]*/{TUNED_FILE}"), reverse=True):
            with contextlib.suppress(StepbenchError):
                if not path.parent.is_symlink() and (found := files.decode(path, Race)).finished:
                    return found
        raise StepbenchError(f"There is no finished race in {self.root}: hold one with 'stepbench tune'.")

    def newest_calibration(self, fingerprint: str) -> Calibration | None:
        """The newest readable calibration of the machine with that fingerprint."""
        for path in sorted(self.root.glob(f"*/{CALIBRATION_FILE}"), reverse=True):
            with contextlib.suppress(StepbenchError):
                found = files.decode(path, Calibration)
                if found.gates and found.environment.fingerprint == fingerprint:
                    return found
        return None

    def write(self, run: Run) -> None:
        """Write ``run.json`` whole; the journal of a finished run is then superfluous.

        Raises:
            StepbenchError: when it cannot be written.
        """
        folder = self.folder(run.run_id)
        files.write(folder / RUN_FILE, files.encode(run))
        if run.finished:
            with contextlib.suppress(OSError):  # One that stays is not read again.
                (folder / JOURNAL_FILE).unlink(missing_ok=True)

    def read(self, name: str = LATEST) -> Run:
        """Read a run by its id or by the path of its folder, with what its journal holds.

        Raises:
            StepbenchError: when there is no such run or it cannot be understood.
        """
        folder = self.locate(name)
        run = files.decode(folder / RUN_FILE, Run)
        if run.finished:
            return run
        return msgspec.structs.replace(run, measurements=read_journal(folder / JOURNAL_FILE, run.plan.cases))

    def locate(self, name: str) -> Path:
        """The folder of a run, named by its id, by a baseline's name or by the path of its folder, in that order.

        Raises:
            StepbenchError: when there is none.
        """
        is_name = Path(name).name == name and name not in (".", "..")
        named = [self.root / name, self.root / BASELINES_FOLDER / name] if is_name else []
        for folder in [*named, Path(name)]:
            if files.is_file(folder / RUN_FILE):
                return folder.resolve()
        if name == LATEST:
            if newest := max(self.root.glob(f"[!.]*/{RUN_FILE}"), default=None):  # In a copy that has no link.
                return newest.parent.resolve()
            raise StepbenchError(f"There is no run in {self.root}: make one with 'stepbench run'.")
        raise StepbenchError(f"There is no run {name!r}, neither in {self.root} nor as a folder with a {RUN_FILE}.")

    def _point_latest_to(self, run_id: str) -> None:
        link = self.root / f".{LATEST}-{run_id}"
        # A file system without links does without.
        with contextlib.suppress(OSError):
            link.symlink_to(run_id)
            link.replace(self.root / LATEST)


def _check_place(path: Path, what: str, its_id: str) -> None:
    if path.parent.name != its_id:
        raise StepbenchError(f"{path} is of {what} {its_id!r}: keep it in a folder of that name.")
