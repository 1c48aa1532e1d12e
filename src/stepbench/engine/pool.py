"""The workers of a run, of which one computes at a time, or a few where nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from stepbench.engine.processes import SHARED, ForkServerError, Process, Wiring, started
from stepbench.engine.worker import PLAIN, Surroundings, Worker, WorkerError
from stepbench.errors import StepbenchError
from stepbench.records.protocol import AnsweredBy, ReplyT
from stepbench.records.run import Failure
from stepbench.records.store import slug

Key = TypeVar("Key", bound=Hashable)


class Pool(Generic[Key]):
    """Workers under keys, such as cases: those that are asked compute, the others are stopped. Leaving it ends all."""

    def __init__(self, logs: Path, *, forks: bool, is_timed: bool = False) -> None:
        """Have workers leave their output in the folder ``logs``.

        Args:
            logs: the folder.
            forks: whether they are forked from one process that has imported TensorFlow, not started each.
            is_timed: whether to time them, so that nothing that was timed may be forked from the same process.
        """
        self._logs = logs
        self._start = _forked if forks else started
        if is_timed:
            SHARED.renew()
        self._workers: dict[Key, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_all()
        SHARED.keep(1)  # For the next pool, whose workers then start at once.

    def __contains__(self, key: Key) -> bool:
        return key in self._workers

    def start(self, key: Key, purpose: int | str, surroundings: Surroundings = PLAIN) -> None:
        """Start a worker, as :class:`Worker` says, whose log is named by its key and its purpose.

        Unless it is forked, it imports TensorFlow beside the others.

        Raises:
            StepbenchError: when its log cannot be written, or no worker be forked any more.
        """
        log = self._logs / f"{slug(str(key))}.{purpose}.log"
        self._workers[key] = Worker(log, surroundings, self._start)

    def greet(self, key: Key) -> None:
        """Wait until a worker has imported TensorFlow, then stop it.

        Raises:
            WorkerError: when it fails to.
        """
        self._workers[key].greet()
        self._workers[key].stop()

    def ask(self, key: Key, order: AnsweredBy[ReplyT], timeout_s: float) -> tuple[ReplyT, float]:
        """Let one worker run for one order.

        Returns:
            The reply, and the processor seconds that the stopped workers used meanwhile.

        Raises:
            WorkerError: when the worker fails.
            StepbenchError: as :meth:`Worker.ask`.
        """
        others = [worker for other, worker in tuple(self._workers.items()) if other != key]
        before = sum(worker.cpu_seconds() for worker in others)
        worker = self._workers[key]
        worker.resume()
        reply = worker.ask(order, timeout_s)
        worker.stop()
        return reply, sum(worker.cpu_seconds() for worker in others) - before

    def each(self, keys: Iterable[Key], action: Callable[[Key], None], fail: Callable[[Key, Failure], None]) -> None:
        """Do it for every key; a failure is its key's own, whose worker is ended."""
        for key in keys:
            self.attempt(key, action, fail)

    def attempt(self, key: Key, action: Callable[[Key], None], fail: Callable[[Key, Failure], None]) -> None:
        """Do it for one key, likewise."""
        try:
            action(key)
        except WorkerError as error:
            self.end(key)
            fail(key, error.failure)

    def end_all(self) -> None:
        """End every worker, so that whoever waits for one waits no longer."""
        for key in tuple(self._workers):
            self.end(key)

    def end(self, key: Key) -> None:
        """End a worker, if there is one under that key."""
        worker = self._workers.pop(key, None)
        if worker is not None:
            worker.kill()


def _forked(wiring: Wiring) -> Process:
    try:
        return SHARED.forked(wiring)
    except ForkServerError as error:
        raise StepbenchError(f"No worker can be forked any more ({error}): begin again.") from error
