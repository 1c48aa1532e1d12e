"""Runs on disk: ``results/<run-id>/`` with ``run.json``, and a journal while a run is unfinished.

``run.json`` is written whole at the start and again at the end, each time through a rename. In between, events go
to ``journal.jsonl``, so that an interrupted run loses nothing that was measured. Reading folds the journal in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from stepbench.errors import StepbenchError
from stepbench.machine import Environment
from stepbench.measurement import Attainable, Event, Measurement, assemble
from stepbench.pairs import Calibration, Gate
from stepbench.spec import Case, Plan

SCHEMA = 1
RUN_FILE = "run.json"
GATE_FILE = "gate.json"
CALIBRATION_FILE = "calibration.json"
JOURNAL_FILE = "journal.jsonl"
LATEST = "latest"
LOGS_FOLDER = "logs"
TENSORBOARD_FOLDER = "tensorboard"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation and all that it measured."""

    schema: int = SCHEMA
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


class Journal:
    """Takes the events of a run while it goes on."""

    def __init__(self, folder: Path) -> None:
        """Continue the journal in ``folder``, or begin one.

        Raises:
            StepbenchError: when it cannot be written.
        """
        path = folder / JOURNAL_FILE
        try:
            self._file = path.open("ab")
            # A line cut off by a kill would spoil the one that is appended to it.
            self._file.truncate(_whole_lines_bytes(path))
        except OSError as error:
            raise _unwritable(path, error, "let its folder be written, or begin another run") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # What could not be written was said where it was to be synced.
            self._file.close()

    def append(self, event: Event) -> None:
        """Take an event.

        Raises:
            StepbenchError: when the disk is full, which shows here once the buffer is.
        """
        with self._writing():
            self._file.write(msgspec.json.encode(event) + b"\n")

    def sync(self) -> None:
        """Return once all events are on disk.

        Raises:
            StepbenchError: when the disk is full.
        """
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failure to write into a sentence."""
        try:
            yield
        except OSError as error:
            raise _unwritable(Path(self._file.name), error, "free some space and continue with --resume") from error


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
            raise _unwritable(self.root, error, "choose a folder that can be written with --results") from error
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
        self._write_file(self.folder(gate.gate_id), GATE_FILE, gate)

    def write_calibration(self, calibration: Calibration) -> None:
        """Write a calibration whole, as far as it is.

        Raises:
            StepbenchError: when it cannot be written.
        """
        self._write_file(self.folder(calibration.calibration_id), CALIBRATION_FILE, calibration)

    def read_calibration(self, name: str) -> Calibration:
        """Read a calibration by its id.

        Raises:
            StepbenchError: when there is none, or it cannot be understood.
        """
        path = self.folder(name) / CALIBRATION_FILE
        if not _is_file(path):
            raise StepbenchError(
                f"There is no calibration {name!r} in {self.root}: begin one with 'stepbench calibrate'."
            )
        return _decode(path, Calibration)

    def newest_calibration(self, fingerprint: str) -> Calibration | None:
        """The newest readable calibration of the machine with that fingerprint."""
        for path in sorted(self.root.glob(f"*/{CALIBRATION_FILE}"), reverse=True):
            with contextlib.suppress(StepbenchError):
                found = _decode(path, Calibration)
                if found.environment.fingerprint == fingerprint:
                    return found
        return None

    def _write_file(self, folder: Path, name: str, what: object) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(folder / name, msgspec.json.format(msgspec.json.encode(what), indent=1))
        except OSError as error:
            raise _unwritable(folder, error, "choose a folder that can be written with --results") from error
        except UnicodeEncodeError as error:
            raise StepbenchError(f"{folder / name} cannot be stored ({error}): use names in UTF-8.") from error

    def write(self, run: Run) -> None:
        """Write ``run.json`` whole; the journal of a finished run is then superfluous.

        Raises:
            StepbenchError: when it cannot be written.
        """
        folder = self.folder(run.run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(folder / RUN_FILE, msgspec.json.format(msgspec.json.encode(run), indent=1))
            if run.finished:
                (folder / JOURNAL_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(folder, error, "choose a folder that can be written with --results") from error
        except UnicodeEncodeError as error:
            raise StepbenchError(f"The run cannot be stored ({error}): use names in UTF-8.") from error

    def read(self, name: str = LATEST) -> Run:
        """Read a run by its id or by the path of its folder, with what its journal holds.

        Raises:
            StepbenchError: when there is no such run or it cannot be understood.
        """
        folder = self.locate(name)
        run = _decode(folder / RUN_FILE, Run)
        if run.finished:
            return run
        return msgspec.structs.replace(run, measurements=_read_journal(folder / JOURNAL_FILE, run.plan.cases))

    def locate(self, name: str) -> Path:
        """The folder of a run, named by its id or by the path of its folder.

        Raises:
            StepbenchError: when there is none.
        """
        is_id = Path(name).name == name and name not in (".", "..")
        folder = self.root / name if is_id and _is_file(self.root / name / RUN_FILE) else Path(name)
        if _is_file(folder / RUN_FILE):
            return folder.resolve()
        if name == LATEST:
            raise StepbenchError(f"There is no run in {self.root}: make one with 'stepbench run'.")
        raise StepbenchError(f"There is no run {name!r}, neither in {self.root} nor as a folder with a {RUN_FILE}.")

    def _point_latest_to(self, run_id: str) -> None:
        link = self.root / f".{LATEST}-{run_id}"
        # A file system without links does without.
        with contextlib.suppress(OSError):
            link.symlink_to(run_id)
            link.replace(self.root / LATEST)


def session_of(case_id: str) -> str:
    """The folder of a case's trace within its run's, where TensorBoard looks for it."""
    return f"{TENSORBOARD_FOLDER}/plugins/profile/{slug(case_id)}"


def slug(text: str) -> str:
    """A file name for ``text``: readable, and distinct for distinct texts."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text.replace("/", "--")).strip(".-")[:80]
    if readable and readable.replace("--", "/") == text:
        return readable
    return f"{readable}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _write_atomically(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


_Stored = TypeVar("_Stored", Run, Calibration)


def _decode(path: Path, kind: type[_Stored]) -> _Stored:
    try:
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=_SchemaOnly).schema
        if schema != SCHEMA:
            raise StepbenchError(f"{path} has schema {schema}, and this stepbench reads {SCHEMA}: use the other one.")
        return msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise StepbenchError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StepbenchError(f"{path} is damaged ({error}): measure again, or choose another run.") from error


class _SchemaOnly(msgspec.Struct):
    schema: int


def _is_file(path: Path) -> bool:
    """As ``Path.is_file``, which raises for names that no file system takes."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_journal(path: Path, cases: Sequence[Case]) -> tuple[Measurement, ...]:
    decoder = msgspec.json.Decoder(Event)
    whole = path.read_bytes()[: _whole_lines_bytes(path)] if path.exists() else b""
    try:
        return assemble(cases, [decoder.decode(line) for line in whole.splitlines()])
    except (msgspec.DecodeError, ValueError) as error:
        raise StepbenchError(f"{path} is damaged ({error}): measure again, or choose another run.") from error


def _whole_lines_bytes(path: Path) -> int:
    """What follows the last newline was being written when the run was killed."""
    return path.read_bytes().rfind(b"\n") + 1


def _unwritable(path: Path, error: OSError, remedy: str) -> StepbenchError:
    return StepbenchError(f"{path} cannot be written ({error.strerror}): {remedy}.")
