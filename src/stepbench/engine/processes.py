"""The processes of workers: started, or forked from one that has imported TensorFlow and Keras for all of them."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stepbench.errors import StepbenchError

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "stepbench.worker.main")
"""What a worker is started by; it is given the descriptors of orders and replies, and its parent's process id."""
SERVER: tuple[str, ...] = (sys.executable, "-P", str(Path(__file__).parents[1] / "worker" / "fork_server.py"))
"""What a fork server is started by; it is given the descriptor of a socket, and its parent's process id."""
IMPORT_TIMEOUT_S = 180.0
"""The longest that importing TensorFlow may take, with every other worker doing the same."""
FORK_TIMEOUT_S = 30.0
"""The longest that a fork server may take to fork, or to give a dead worker's status."""
LONGEST_MESSAGE = 1 << 20


@dataclass(frozen=True)
class Wiring:
    """What a worker's process is given."""

    orders: int
    """Descriptors: that it reads orders from, writes replies to, and where its output goes."""
    replies: int
    output: int
    environment: Mapping[str, str]
    """All of its variables."""
    folder: Path | None
    """In which it works; its parent's if None."""
    processors: frozenset[int] | None = None
    """On which it may run; all of its parent's if None."""


class Process(ABC):
    """A worker's process, which leads a session of its own; its number stands for both until it is reaped."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        """Readable once the process has ended."""
        self._code: int | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started; to nobody once the number may be another's."""
        if self._code is None and self._is_its_own():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended, negative for a signal's number; what it started is ended with it.

        Raises:
            subprocess.TimeoutExpired: when it has not ended in so many seconds.
        """
        if self._code is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired("a worker", timeout or 0)
            self.signal(signal.SIGKILL)  # While the number is still its own.
            self._code = self._reap()
            os.close(self._descriptor)
        return self._code

    def _has_ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout)[0])

    def _is_its_own(self) -> bool:
        """Whether nobody else can have reaped it."""
        return True

    @abstractmethod
    def _reap(self) -> int:
        """The exit code of the process, which has ended."""


class _Started(Process):
    """A process of this one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        try:
            super().__init__(process.pid, os.pidfd_open(process.pid))
        except OSError:
            process.kill()
            process.wait()
            raise
        self._process = process

    def _reap(self) -> int:
        return self._process.wait()


def started(wiring: Wiring) -> Process:
    """A fresh process, which imports TensorFlow itself."""
    with _running_on(wiring.processors):
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell.
            [*COMMAND, str(wiring.orders), str(wiring.replies), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=wiring.output,
            stderr=wiring.output,
            env=dict(wiring.environment),
            cwd=wiring.folder,
            pass_fds=(wiring.orders, wiring.replies),
            start_new_session=True,  # Ctrl-C is for the parent alone to handle.
        )
    return _Started(process)


@contextlib.contextmanager
def _running_on(processors: frozenset[int] | None) -> Iterator[None]:
    """Have this thread, and with it what it starts meanwhile, run on certain processors alone."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors or mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


class ForkServerError(StepbenchError):
    """No worker can be forked; the reason is the message."""


class ForkServer:
    """A process that has imported TensorFlow and Keras and nothing else, from which workers are forked."""

    def __init__(self, environment: Mapping[str, str], processors: frozenset[int] | None = None) -> None:
        """Start it.

        Args:
            environment: all of its variables, which TensorFlow reads while it is imported.
            processors: on which it and its workers may run; all of this process's if None.

        Raises:
            ForkServerError: when no worker can be forked from it.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, _running_on(processors):
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell.
                [*SERVER, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            answer, _ = self._answer(IMPORT_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        self._import_s = float(answer["import_s"])
        if answer["refused"]:
            self.close()
            raise ForkServerError(answer["refused"])

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def fork(self, wiring: Wiring) -> Process:
        """A worker's process.

        Raises:
            ForkServerError: when the server is gone.
        """
        order = {
            "argv": [str(self._import_s)],
            "environment": dict(wiring.environment),
            "folder": str(wiring.folder or Path.cwd()),
        }
        answer, descriptors = self._ask(order, (wiring.orders, wiring.replies, wiring.output))
        return _Forked(self, int(answer["pid"]), descriptors[0], wiring.environment.get("TMPDIR", ""))

    def reap(self, pid: int) -> int:
        """The exit code of a worker that has ended, whose number is free then.

        Raises:
            ForkServerError: when the server is gone, and its workers with it.
        """
        return int(self._ask({"reap": pid})[0]["status"])

    def close(self) -> None:
        """End the server and, by the kernel, every worker that is left of it. Safe to repeat."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _ask(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        try:
            socket.send_fds(self._socket, [json.dumps(order).encode()], list(descriptors))
            return self._answer(FORK_TIMEOUT_S)
        except OSError as error:
            self.close()
            raise ForkServerError(f"the process that forks workers does not listen ({error.strerror})") from error
        except BaseException:  # An answer that comes later must not be taken for another's.
            self.close()
            raise

    def _answer(self, timeout_s: float) -> tuple[dict[str, Any], list[int]]:
        if not select.select([self._socket], [], [], timeout_s)[0]:
            raise ForkServerError(f"the process that forks workers gave no answer within {timeout_s:g} s")
        message, descriptors, *_ = socket.recv_fds(self._socket, LONGEST_MESSAGE, 1)
        if not message:
            raise ForkServerError("the process that forks workers has ended")
        return json.loads(message), descriptors


class _Forked(Process):
    """A worker's process that is the fork server's child."""

    def __init__(self, server: ForkServer, pid: int, descriptor: int, scratch: str) -> None:
        super().__init__(pid, descriptor)
        self._server = server
        self._scratch = scratch

    def _is_its_own(self) -> bool:
        # The kernel ends it with its server, and then whoever inherits it reaps it. Its number is not given away while
        # something that it started is left of its group.
        return not (self._server.has_ended and self._has_ended(0)) or self._has_left_something()

    def _has_left_something(self) -> bool:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) == self.pid and process.environ().get("TMPDIR") == self._scratch:
                    return True
        return False

    def _reap(self) -> int:
        try:
            return self._server.reap(self.pid)
        except ForkServerError:  # It was ended with its server.
            return -signal.SIGKILL


class Forker:
    """Forks workers, from a server for each environment that TensorFlow is to be imported in."""

    def __init__(self) -> None:
        self._servers: dict[tuple[object, ...], ForkServer] = {}
        self._was_timed = False

    def renew(self) -> None:
        """Have what is timed next forked from servers that nothing timed was forked from: layouts vary between them."""
        if self._was_timed:
            self.keep(0)
        self._was_timed = True

    def forked(self, wiring: Wiring) -> Process:
        """A process that has imported TensorFlow and Keras already.

        Raises:
            ForkServerError: when none can be forked.
        """
        # What is a worker's own, or of no matter to it; all else may decide how TensorFlow is imported.
        shared = {name: value for name, value in wiring.environment.items() if name not in _OWN}
        key = (SERVER, wiring.processors, *sorted(shared.items()))
        server = self._servers.pop(key, None)
        if server is not None and server.has_ended:
            server.close()
            server = None
        if server is None:
            server = ForkServer({**shared, **_own_path()}, wiring.processors)
        self._servers[key] = server  # The last one used is the last one here.
        return server.fork(wiring)

    def keep(self, servers: int) -> None:
        """End all servers but the last ones used, and the workers that are left of them."""
        for key in list(self._servers)[: len(self._servers) - servers]:
            self._servers.pop(key).close()


_OWN = frozenset({"PYTHONPATH", "TMPDIR", "PYTEST_CURRENT_TEST"})
"""The last one changes with each test of a session that measures through our plugin."""
SHARED = Forker()
"""Of all pools of this process, one after the other. The kernel ends its servers with it, should it be killed."""
atexit.register(SHARED.keep, 0)


def _own_path() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {} if path is None else {"PYTHONPATH": path}
