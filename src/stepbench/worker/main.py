"""The worker process: one case, measured on orders that come in over a pipe.

Started by :mod:`stepbench.engine.processes` as ``python -m stepbench.worker.main IN OUT PARENT``: the file
descriptors of orders and replies, and the parent's process id; or forked from :mod:`stepbench.worker.fork_server`, with
the seconds that its imports took. Whatever users' code prints goes to the log.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from stepbench.errors import NotApplicableError, StepbenchError
from stepbench.records.cases import XLA, Device
from stepbench.records.protocol import (
    Agree,
    Attain,
    Attained,
    Capture,
    Captured,
    Close,
    Closed,
    Count,
    Counted,
    Describe,
    Described,
    Examine,
    Examined,
    Failed,
    Hello,
    MakeReady,
    MakeTrajectory,
    Measure,
    Measured,
    Order,
    Prepare,
    Prepared,
    Recompute,
    Refused,
    Reply,
    Train,
    Written,
)
from stepbench.records.run import Failure, FailureKind

if TYPE_CHECKING:
    from stepbench.training.task import Task
    from stepbench.worker.timing import WarmCase
    from stepbench.worker.verify import Reference, Verifier

PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY_SCORE = "1000"
LOOKED_AT = 4_096
"""Training examples that are enough to see how a workload makes its batches."""


def main() -> None:
    """Serve orders until told to close, or until the parent is gone."""
    orders_fd, replies_fd, parent, *imported = sys.argv[1:]
    die_with_parent(int(parent))
    with os.fdopen(int(orders_fd), "rb") as orders, os.fdopen(int(replies_fd), "wb") as replies:
        started = time.perf_counter()
        import tensorflow as tf  # noqa: F401 - its import is the phase that is timed here.

        import_s = float(imported[0]) if imported else time.perf_counter() - started
        _send(replies, Hello(import_s))
        serve(orders, replies, OrderHandler(import_s))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends and even while it is stopped."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It ended before the kernel knew.
        os._exit(1)
    with contextlib.suppress(OSError):  # If memory runs out, this process is the one to go.
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)


def serve(orders: BinaryIO, replies: BinaryIO, handler: OrderHandler) -> None:
    """Answer each line of ``orders`` with one line on ``replies``; a failure ends the process."""
    decoder = msgspec.json.Decoder(Order)
    for line in orders:
        reply = _answer(handler, decoder.decode(line))
        _send(replies, reply)
        if isinstance(reply, Failed | Refused | Closed):
            break
    # TensorFlow's threads can hang at exit, and there is nothing left to save.
    replies.flush()
    os._exit(0)


def _send(replies: BinaryIO, reply: Reply) -> None:
    replies.write(msgspec.json.encode(reply) + b"\n")
    replies.flush()


def _answer(handler: OrderHandler, order: Order) -> Reply:
    try:
        return handler.carry_out(order)
    except NotApplicableError as error:
        return Failed(Failure(FailureKind.UNSUPPORTED, str(error)))
    except StepbenchError as error:
        # Wrong use is found before anything is measured; later it is a matter of the one case.
        return Refused(str(error)) if isinstance(order, Describe) else _error(str(error))
    except MemoryError as error:
        return Failed(Failure(FailureKind.OUT_OF_MEMORY, str(error) or "Python ran out of memory."))
    except Exception as error:  # noqa: BLE001 - users' code may raise anything, and it belongs to its case.
        import traceback

        traceback.print_exc()  # The log keeps the whole story; the user gets one sentence.
        return Failed(classify(error, xla=handler.claims_xla))


def _error(message: str) -> Failed:
    return Failed(Failure(FailureKind.ERROR, message))


def classify(error: Exception, *, xla: bool) -> Failure:
    """The typed failure for an exception that a step or its build raised."""
    import tensorflow as tf

    # Keras colours its messages.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", f"{type(error).__name__}: {error}")
    message = " ".join(plain.split())[:500]
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return Failure(FailureKind.OUT_OF_MEMORY, message)
    if isinstance(error, tf.errors.UnimplementedError) and not xla:
        return Failure(FailureKind.UNSUPPORTED, message)
    compiler_said = any(word in message for word in ("XLA", "compil", "tf2xla", "Mlir", "HLO"))
    if xla and isinstance(error, tf.errors.OpError) and compiler_said:
        return Failure(FailureKind.COMPILE_ERROR, message)
    return Failure(FailureKind.ERROR, message)


class OrderHandler:
    """Carries out orders; holds the one case that this process measures."""

    def __init__(self, import_s: float) -> None:
        self._import_s = import_s
        self._prepared: Prepare | None = None
        self._warm: WarmCase | None = None
        self._verifier: Verifier | None = None
        self._reference: Reference | None = None
        self.claims_xla = False

    def carry_out(self, order: Order) -> Reply:  # noqa: PLR0911 - one for each kind of order.
        """Do what ``order`` says.

        Raises:
            StepbenchError: when what the user asked for is wrong.
            Exception: whatever users' code or TensorFlow raises.
        """
        match order:
            case Describe() | Attain() | Count():
                return _without_case(order)
            case Prepare():
                return self._prepare(order)
            case Measure():
                calls = order.calls or self._ready().calls_in(self._order().block_seconds)
                return Measured(self._ready().time_block(order.round, calls))
            case Close():
                return self._close(order)
            case MakeTrajectory() | Recompute():
                return self._refer(order)
            case MakeReady() | Agree() | Train():
                return self._verify(order)
            case Capture():
                return self._capture(order)
            case Examine():
                from stepbench.worker.doctor import examine_tensorflow

                return Examined(examine_tensorflow())

    def _refer(self, order: MakeTrajectory | Recompute) -> Reply:
        from stepbench.worker.verify import Reference

        if isinstance(order, MakeTrajectory):
            self._reference = Reference(order)
            return self._reference.make(order)
        assert self._reference, "the pool has a trajectory made before"
        return self._reference.recompute(order)

    def _verify(self, order: MakeReady | Agree | Train) -> Reply:
        from stepbench.worker.verify import Verifier

        self.claims_xla = order.case.variant.execution == XLA
        if self._verifier is None:
            self._verifier = Verifier(order)
        if isinstance(order, MakeReady):
            return self._verifier.make_ready()
        return self._verifier.agree(order) if isinstance(order, Agree) else self._verifier.train(order)

    def _capture(self, order: Capture) -> Captured | Failed:
        from stepbench.worker.profile import trace_case
        from stepbench.worker.xplane import UnreadableTraceError

        evidence = self._prepare(order.prepare).evidence
        try:
            return Captured(evidence, trace_case(self._ready(), order.settings, Path(order.folder)))
        except UnreadableTraceError as error:  # Worth another try, as any trace that is refused.
            return Failed(Failure(FailureKind.NOT_PROVED, f"The trace: {error}."))

    def _close(self, order: Close) -> Closed:
        from stepbench.training.locate import script_of
        from stepbench.worker.origins import imported_from

        mine = self._order()
        closing = self._ready().close(mine.block_seconds, input_pipeline=order.input_pipeline)
        root = Path(mine.root).resolve() if mine.root else None
        return Closed(closing, imported_from(root, script_of(mine.workload)) if root else None)

    def _order(self) -> Prepare:
        assert self._prepared is not None, "the pool prepares a case before it measures it"
        return self._prepared

    def _ready(self) -> WarmCase:
        assert self._warm is not None, "the pool prepares a case before it measures it"
        return self._warm

    def _prepare(self, order: Prepare) -> Prepared:
        from stepbench.training.devices import use_device
        from stepbench.training.executions import execution_named
        from stepbench.training.locate import script_of
        from stepbench.training.task import task_named
        from stepbench.worker.origins import check_origins
        from stepbench.worker.settings import apply_settings
        from stepbench.worker.timing import WarmCase, ring_batches

        use_device(order.case.device)
        apply_settings(order.case.settings)
        _import_plugins(order.plugins)
        execution = execution_named(order.case.variant.execution)
        self.claims_xla = execution.claims == XLA
        started = time.perf_counter()
        task = task_named(order.workload, order.data, ring_batches(order.case) * order.case.batch_size)
        data_s = time.perf_counter() - started
        self._prepared = order
        self._warm = WarmCase(order.case, task, order.seed, order.slowdown)
        if order.elsewhere:
            script = script_of(order.workload)
            check_origins(Path(order.root).resolve(), Path(order.elsewhere).resolve(), script)
        calls = self._warm.calls_in(order.block_seconds)
        return Prepared(self._warm.phases(self._import_s, data_s), self._warm.evidence, calls)


def _without_case(order: Describe | Attain | Count) -> Reply:
    match order:
        case Describe():
            return _describe(order)
        case Attain():
            return _attain(order)
        case Count():
            return _count(order)


def _describe(order: Describe) -> Described:
    from stepbench.training.data import resolve_source
    from stepbench.training.devices import visible_devices
    from stepbench.training.executions import execution_named

    _import_plugins(order.plugins)
    for execution in order.executions:
        execution_named(execution)
    workloads: dict[str, str] = {}
    batch_sizes: dict[str, int] = {}
    remarks: list[str] = []
    written: dict[str, Written] = {}
    for locator in order.workloads:
        name, task = _described(locator, order)
        if name in workloads:
            raise StepbenchError(f"Two workloads are named {name!r}: give each a name of its own.")
        workloads[name], batch_sizes[name] = locator, task.usual_batch_size
        remarks += task.remarks
        written |= {name: task.written} if task.written else {}
    source = resolve_source(order.data, limit=1)
    devices = tuple(device.value for device in visible_devices())
    return Described(workloads, source.name, devices, batch_sizes, tuple(remarks), written)


def _described(locator: str, order: Describe) -> tuple[str, Task]:
    """The name of a workload and its task, looked at for every batch size that is asked for."""
    from stepbench.training.data import resolve_source
    from stepbench.training.locate import load_workload
    from stepbench.training.script import Script
    from stepbench.training.task import open_task

    workload = load_workload(locator)
    # A pipeline over fewer examples may make smaller batches than its own; a script has all of them by then.
    limit = None if isinstance(workload, Script) else max(LOOKED_AT, *order.batch_sizes, 0)
    task = open_task(workload, resolve_source(order.data, limit=limit))
    task.look(order.batch_sizes)
    return workload.name, task


def _attain(order: Attain) -> Attained:
    from stepbench.training.devices import use_device
    from stepbench.worker.peaks import measure_attainable

    use_device(order.device)
    return Attained(measure_attainable(order.device, order.dtypes, order.memory_bytes))


def _count(order: Count) -> Counted:
    from stepbench.training.devices import use_device
    from stepbench.training.task import task_named
    from stepbench.worker.work import count_steps

    use_device(Device.CPU)  # For the general form of layers that have one of their own for GPUs.
    return Counted(count_steps(task_named(order.workload, order.data), order.steps))


def _import_plugins(plugins: tuple[str, ...]) -> None:
    from stepbench.training.locate import import_user_module

    for plugin in plugins:
        import_user_module(plugin)


if __name__ == "__main__":
    main()
