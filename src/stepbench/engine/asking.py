"""Workers of one order: what a workload is, what the doctor finds."""

from __future__ import annotations

from pathlib import Path

from stepbench.engine.processes import IMPORT_TIMEOUT_S, SHARED, ForkServerError
from stepbench.engine.worker import PLAIN, Surroundings, Worker, WorkerError
from stepbench.errors import StepbenchError
from stepbench.records.protocol import AnsweredBy, Describe, Described, ReplyT


def ask_once(order: AnsweredBy[ReplyT], log: Path, surroundings: Surroundings = PLAIN) -> ReplyT:
    """The reply of a worker of its own, started as :class:`Worker` says and ended then.

    Raises:
        StepbenchError: when the log cannot be written, and as :meth:`Worker.ask`.
        WorkerError: when the worker fails.
    """
    return _asked_once(Worker(log, surroundings), order)


def _asked_once(worker: Worker, order: AnsweredBy[ReplyT]) -> ReplyT:
    try:
        worker.greet()
        return worker.ask(order, IMPORT_TIMEOUT_S)
    finally:
        worker.kill()


def describe(order: Describe, logs: Path, surroundings: Surroundings = PLAIN) -> tuple[Described, str | None]:
    """Have a worker load what the user named, and say what it is.

    Args:
        order: what is named.
        logs: the folder for its output.
        surroundings: of that worker.

    Returns:
        What was found, and why workers cannot be forked here, if so: this one was started then.

    Raises:
        StepbenchError: when something of it is wrong.
    """
    log, unforkable = logs / "describe.log", None
    try:
        try:
            worker = Worker(log, surroundings, SHARED.forked)
        except ForkServerError as error:
            unforkable = str(error)
            worker = Worker(log, surroundings)
        return _asked_once(worker, order), unforkable
    except WorkerError as error:
        raise StepbenchError(f"Loading the workload failed: {error.failure.message}") from error
