"""The journal of an unfinished run: an event a line, on disk before the next round begins."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from stepbench.errors import StepbenchError
from stepbench.records.cases import Case
from stepbench.records.run import Event, Measurement, assemble
from stepbench.records.store import files
from stepbench.records.store.files import damaged, unwritable
from stepbench.records.store.names import JOURNAL_FILE


class Journal:
    """Takes the events of a run while it goes on."""

    def __init__(self, folder: Path) -> None:
        """Continue the journal in ``folder``, or begin one.

        Raises:
            StepbenchError: when it cannot be written, or another process does.
        """
        path = folder / JOURNAL_FILE
        try:
            self._file = path.open("ab")
            self._lock(folder)
            # A line cut off by a kill would spoil the one that is appended to it.
            self._file.truncate(len(_whole_lines(path.read_bytes())))
        except OSError as error:
            raise unwritable(path, error, "let its folder be written, or begin another run") from error

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

    def _lock(self, folder: Path) -> None:
        """Be the only process that measures this run; the kernel ends that with the process."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StepbenchError(
                f"Another process measures run {folder.name} now: wait for it, or end it and try again."
            ) from None
        except OSError:  # A file system that knows no locks.
            pass

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failure to write into a sentence."""
        try:
            yield
        except OSError as error:
            raise unwritable(Path(self._file.name), error, "free some space and continue with --resume") from error


def read_journal(path: Path, cases: Sequence[Case]) -> tuple[Measurement, ...]:
    """What the whole lines of a journal say of each case.

    Raises:
        StepbenchError: when they cannot be read or understood.
    """
    decoder = msgspec.json.Decoder(Event)
    content = files.read(path) if path.exists() else b""
    try:
        return assemble(cases, [decoder.decode(line) for line in _whole_lines(content).splitlines()])
    except (msgspec.DecodeError, ValueError) as error:
        raise damaged(path, error) from error


def _whole_lines(content: bytes) -> bytes:
    """What follows the last newline was being written when the run was killed."""
    return content[: content.rfind(b"\n") + 1]
