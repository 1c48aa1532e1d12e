"""One worker process, seen from outside: spoken to, stopped, watched and ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import psutil

from stepbench.engine.processes import IMPORT_TIMEOUT_S, Process, Wiring, started
from stepbench.errors import StepbenchError
from stepbench.probes.memory import memory_left
from stepbench.probes.settings import effect_of
from stepbench.records.protocol import (
    WORKER_ENVIRONMENT,
    AnsweredBy,
    Failed,
    Hello,
    Refused,
    Reply,
    ReplyT,
)
from stepbench.records.run import Failure, FailureKind
from stepbench.records.settings import Setting

POLL_S = 0.25
EXIT_TIMEOUT_S = 5.0
"""The longest that a worker may take to exit once its replies have ended."""
KEPT_FREE = 0.1
"""Share of the machine's memory that workers must leave alone."""


class WorkerError(Exception):
    """A worker failed in a way that belongs to its case."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True)
class Surroundings:
    """What a worker finds around it."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables set for it beside its parent's."""
    folder: Path | None = None
    """In which it works; its parent's if None."""
    settings: tuple[Setting, ...] = ()
    """Knobs of the runtime that are to be set."""


PLAIN = Surroundings()
"""Those of its parent."""


class Worker:
    """One worker process, seen from outside."""

    def __init__(
        self, log: Path, surroundings: Surroundings = PLAIN, start: Callable[[Wiring], Process] = started
    ) -> None:
        """Start the process.

        Args:
            log: takes its output.
            surroundings: what it finds around it.
            start: gives its process.

        Raises:
            StepbenchError: when the log cannot be written, no process be had, or a setting not be had here.
        """
        effect = effect_of(surroundings.settings)
        # AutoGraph writes a file for each function, and a process that is killed takes none away.
        self._scratch = tempfile.TemporaryDirectory(prefix="stepbench-", ignore_cleanup_errors=True)
        fixed = {**WORKER_ENVIRONMENT, "TMPDIR": self._scratch.name}
        variables = {**os.environ, **fixed, **surroundings.environment, **effect.environment}
        orders_read, self._orders = os.pipe()
        self._replies, replies_write = os.pipe()
        try:
            with _open_log(log) as output:
                wiring = Wiring(
                    orders_read, replies_write, output.fileno(), variables, surroundings.folder, effect.processors
                )
                self._process = start(wiring)
        except BaseException:
            os.close(self._orders)
            os.close(self._replies)
            self._scratch.cleanup()
            raise
        finally:
            os.close(orders_read)
            os.close(replies_write)
        self._log = log
        self._watched = psutil.Process(self._process.pid)
        self._buffer = b""
        self._ended = False

    def greet(self, timeout_s: float = IMPORT_TIMEOUT_S) -> None:
        """Wait until the worker has imported TensorFlow.

        Raises:
            WorkerError: as :meth:`ask`.
        """
        self._reply(Hello, timeout_s)

    def ask(self, order: AnsweredBy[ReplyT], timeout_s: float) -> ReplyT:
        """Give an order and wait for its reply.

        Raises:
            WorkerError: when the worker fails, dies, takes too long or too much memory, or answers something else.
            StepbenchError: when what the user asked for is wrong.
        """
        with contextlib.suppress(BrokenPipeError):  # A dead worker is told apart below, by how it died.
            os.write(self._orders, msgspec.json.encode(order) + b"\n")
        return self._reply(type(order).reply_type(), timeout_s)

    def _reply(self, kind: type[ReplyT], timeout_s: float) -> ReplyT:
        line = self._read_line(time.monotonic() + timeout_s, timeout_s)
        try:
            reply: Reply = msgspec.json.decode(line, type=Reply)
        except msgspec.DecodeError as error:  # As of another stepbench, which base may be where it gates itself.
            raise WorkerError(_not_understood(str(error))) from error
        match reply:
            case kind():
                return reply
            case Failed():
                raise WorkerError(reply.failure)
            case Refused():
                raise StepbenchError(reply.message)
        raise WorkerError(_not_understood(f"{type(reply).__name__}, not {kind.__name__}"))

    def stop(self) -> None:
        """Take the processors from the worker until :meth:`resume`."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the worker run again."""
        self._process.signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Processor time used so far; 0 when the process is gone."""
        try:
            times = self._watched.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> None:
        """End the process and all that it started, at once. Safe to repeat."""
        if self._ended:  # Its numbers may be another's by now: the process's and the pipes'.
            return
        self._process.signal(signal.SIGKILL)
        self._process.wait()
        self._ended = True
        for descriptor in (self._orders, self._replies):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._scratch.cleanup()

    def _read_line(self, deadline: float, timeout_s: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerError(Failure(FailureKind.TIMEOUT, f"It gave no answer within {timeout_s:g} s."))
            if not select.select([self._replies], [], [], min(left, POLL_S))[0]:
                self._watch_memory()
                continue
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise WorkerError(self._death())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _watch_memory(self) -> None:
        """Act before the kernel has to, which might choose another process."""
        available, limit = memory_left()
        if available > KEPT_FREE * limit:
            return
        with contextlib.suppress(psutil.Error):
            used = self._watched.memory_info().rss
            message = f"It was ended at {used / 2**30:.1f} GiB, when {available / 2**30:.1f} GiB were left."
            raise WorkerError(Failure(FailureKind.OUT_OF_MEMORY, message))

    def _death(self) -> Failure:
        try:
            code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # Users' code closed the pipe, or hangs at exit.
            return Failure(FailureKind.CRASH, "Its process closed its pipe, but did not exit.")
        if code == -signal.SIGKILL:
            return Failure(FailureKind.OUT_OF_MEMORY, "The kernel ended it, most likely for want of memory.")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        return Failure(FailureKind.CRASH, f"Its process {how}; the end of its output: {_last_words(self._log)}")


def _not_understood(why: str) -> Failure:
    return Failure(FailureKind.ERROR, f"Its answer is not understood ({why}).")


def _open_log(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise StepbenchError(f"The log {log} cannot be written ({error.strerror}): choose another --results.") from None


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:] or "(none)"
