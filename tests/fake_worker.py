"""A worker without TensorFlow: it speaks the protocol through the real loop, and invents what it says.

Whatever is not asked for is innocent. A case's execution names what goes wrong with it, see :class:`FakeWorker`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parent))

import msgspec
from builders import STEPS, make_block, make_closing, make_evidence, make_facts, make_phases, make_trace

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, Case
from stepbench.records.protocol import (
    Agree,
    Agreed,
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
    Failed,
    Hello,
    MakeReady,
    MakeTrajectory,
    Measure,
    Measured,
    Order,
    Prepare,
    Prepared,
    Ready,
    Recompute,
    Recomputed,
    Reply,
    Train,
    Trained,
    TrajectoryMade,
)
from stepbench.records.run import Attainable, Failure, FailureKind, InputWait, Work
from stepbench.records.verify import Agreement, Curve, Fault, Point, TensorError, Test
from stepbench.worker.main import _send, die_with_parent, serve

MUTE = "FAKE_WORKER_MUTE"
"""Set in its environment, it never says hello."""
SLOWDOWN_FILE = "slowdown"
"""In the folder that it works in: how much longer its steps take, as a share."""
SLOWER = {EAGER: 2, "crawling": 200, "too-steep": 0.5, "faulty-midway": 0.5}
"""Times as long as others' steps take those of these executions."""
SPEED = "FAKE_WORKER_SPEED"
"""Set in its environment, its steps take so many times as long."""
UNPROVED = "FAKE_WORKER_UNPROVED"
"""Set in its environment, it finds nothing of its settings."""
BLOCK_S = 0.02
FOR_EVER_S = 3600


class FakeWorker:
    """Answers each order; its cases go wrong as their executions say."""

    claims_xla = False

    def __init__(self, replies: int) -> None:
        self._replies = replies
        self._order: Prepare | None = None

    def carry_out(self, order: Order) -> Reply:
        match order:
            case Prepare():
                return self._prepare(order)
            case Measure():
                return self._measure(order)
            case Close():
                return self._close(order)
            case MakeTrajectory() | MakeReady() | Agree() | Train() | Recompute():
                return self._verify(order)
            case Capture():
                return _capture(order)
            case _:
                return _without_case(order)

    def _prepare(self, order: Prepare) -> Reply:
        self._order = order
        execution = order.case.variant.execution
        _misbehave(order.case, self._replies)
        if execution == "raising":
            print("RuntimeError: planted in the step", flush=True)  # noqa: T201 - it goes to the log.
            return _failed("RuntimeError: planted in the step")
        if execution == "misanswering":
            return Measured(make_block())
        evidence = make_evidence(order.case, **({"loss": None} if execution == "nan" else {}))
        if UNPROVED in os.environ:
            evidence = msgspec.structs.replace(evidence, settings={})
        return Prepared(make_phases(), evidence, calls={"two-calls": 2, "of-old": 0}.get(execution, 1))

    def _measure(self, order: Measure) -> Measured:
        assert self._order is not None
        execution = self._order.case.variant.execution
        while execution == "endless":
            pass
        time.sleep(BLOCK_S)
        longer = 1 + self._order.slowdown + _planted_slowdown()
        slower = SLOWER.get(execution, 1) * float(os.environ.get(SPEED, "1"))
        seconds = 0.015 * STEPS * slower * longer
        loss = None if execution == "nan-later" else 1.5
        steps = self._order.case.steps_per_call if execution == "crawling" else STEPS * max(1, order.calls)
        return Measured(make_block(order.round, seconds, loss=loss, steps=steps))

    def _close(self, order: Close) -> Closed:
        assert self._order is not None
        retraced = self._order.case.variant.execution == "retracing"
        waited = InputWait(steps=STEPS, seconds=1.0, wait_s=0.25) if order.input_pipeline else None
        return Closed(make_closing(traces=3 * retraced, input_wait=waited))

    def _verify(self, order: MakeTrajectory | MakeReady | Agree | Train | Recompute) -> Reply:
        if isinstance(order, MakeReady):
            return Ready()
        if isinstance(order, MakeTrajectory):
            return _trajectory(order)
        if isinstance(order, Train):
            return _train(order)
        if isinstance(order, Recompute):
            kept = list(Path(order.folder).iterdir())
            assert all(path.read_text() == order.case.id for path in kept), "of no other case"
            if order.case.variant.execution == "losing":
                return _failed("RuntimeError: planted in the reference")
            return Recomputed(_agreement(order.case, wrong="wrong-midway").points * len(kept))
        _misbehave(order.case, self._replies)
        assert Path(order.folder, "trajectory").read_bytes() == b"a trajectory"
        return Agreed(_agreement(order.case))


def _without_case(order: Describe | Attain | Count | Examine) -> Reply:
    match order:
        case Describe():
            if order.workloads == ("nothing",):
                raise StepbenchError("There is no workload 'nothing'.")
            return Described({"tiny": order.workloads[0]}, "synthetic", ("cpu",), {"tiny": 64})
        case Attain():
            return Attained(Attainable(order.device, dict.fromkeys(order.dtypes, 1e11), 1e10))
        case Count():
            if "lost" in order.workload:
                return _failed(f"There is no file {order.workload}.")
            return Counted(tuple(Work(1e6 * size, 1e6, 320) for _, size in order.steps))
        case Examine():
            return _failed("There is no TensorFlow here.")


def _trajectory(order: MakeTrajectory) -> TrajectoryMade | Failed:
    if "lost" in order.workload:
        return _failed(f"There is no file {order.workload}.")
    folder = Path(order.folder)
    folder.mkdir()
    (folder / "trajectory").write_bytes(b"a trajectory")
    return TrajectoryMade(dict.fromkeys((case.variant.precision.value for case in order.cases), "float64"))


def _train(order: Train) -> Trained | Failed:
    execution = order.case.variant.execution
    time.sleep(BLOCK_S)
    for point in order.points:
        Path(order.folder).mkdir(exist_ok=True)
        Path(order.folder, str(point)).write_text(order.case.id)
    if execution == "raising-midway":
        return _failed("RuntimeError: planted in step 61")
    losses = [1.0 + 0.01 * order.seed + 1 / (1 + step) for step in range(order.steps)]
    if execution == "nan-midway":
        return Trained(Curve(order.seed, (*losses[:60], None)))
    if execution == "faulty-midway":
        losses[-1] += 1e-9
    faults = (Fault(49, "update of dense/kernel is off"),) if execution == "faulty-midway" else ()
    tests = tuple(Test(step, 1.0, figures={"accuracy": 0.9}) for step in order.tests)
    return Trained(Curve(order.seed, tuple(losses), tests, faults, audited=order.steps))


def _misbehave(case: Case, replies: int) -> None:
    """Do what ends a worker, or keeps it from answering."""
    match case.variant.execution:
        case "sleeping":
            time.sleep(FOR_EVER_S)
        case "aborting":
            os.abort()
        case "quitting":
            os._exit(7)
        case "telling":
            tell()
        case "hanging-up":
            os.closerange(3, 4096)
            time.sleep(FOR_EVER_S)
        case "babbling":
            os.write(replies, b'{"type":"of another stepbench"}\n')
        case "untidy":
            subprocess.Popen(["sleep", str(FOR_EVER_S)])
            threading.Thread(target=_spin, daemon=True).start()


def tell() -> None:
    """Write down what this process has of its own."""
    import numpy as np  # Few ask, and it takes most of a start.

    found = {
        "random": str(random.random()),  # noqa: S311 - it shows the state that is inherited.
        "numpy": str(np.random.random()),  # noqa: NPY002 - the state that all share.
        "temporary": tempfile.gettempdir(),
        "folder": str(Path.cwd()),
        "path": sys.path[1],  # After this file's folder.
        "descriptors": str(len(os.listdir("/proc/self/fd")) - 1),  # noqa: PTH208 - less the one that is read.
    }
    print(json.dumps(found), flush=True)  # noqa: T201 - it goes to the log.


def _spin() -> NoReturn:
    while True:
        pass


def _planted_slowdown() -> float:
    file = Path(SLOWDOWN_FILE)
    return float(file.read_text()) if file.exists() else 0.0


def _failed(message: str) -> Failed:
    return Failed(Failure(FailureKind.ERROR, message))


def _capture(order: Capture) -> Captured | Failed:
    case, folder = order.prepare.case, Path(order.folder)
    _misbehave(case, -1)
    if case.variant.execution == "raising":
        return _failed("RuntimeError: planted in the step")
    folder.mkdir(parents=True)
    (folder / "fake.xplane.pb").write_bytes(b"a trace")
    facts = make_facts(case, order.settings)
    tried = folder.parent / f"tried-{case.variant.execution}"
    if case.variant.execution == "never-marked" or (case.variant.execution == "marked-later" and not tried.exists()):
        facts = make_facts(case, order.settings, steps=())
    if case.variant.execution == "too-long":
        facts = make_facts(case, order.settings, events=2_000_000)
    with tried.open("a") as tries:
        tries.write("tried\n")
    return Captured(make_evidence(case), make_trace(case, path=str(folder), facts=facts))


def _agreement(case: Case, wrong: str = "too-steep") -> Agreement:
    off = 1.0 if case.variant.execution == wrong else 0.0
    right = TensorError("dense/kernel", off, off, 1e-6)
    loss = TensorError("loss", 0.0, 0.0, 1e-6)
    point = Point(0, loss, (right,), (right,), (), (), 0, case.variant.execution, changes=(right,))
    step_s = 10.0 if case.variant.execution == "crawling" else 0.01
    return Agreement("float64", None, gradients_seen=True, step_s=step_s, points=(point,))


def main() -> None:
    orders_fd, replies_fd, parent = (int(argument) for argument in sys.argv[1:4])
    die_with_parent(parent)
    with os.fdopen(orders_fd, "rb") as orders, os.fdopen(replies_fd, "wb") as replies:
        if MUTE in os.environ:
            time.sleep(FOR_EVER_S)
        _send(replies, Hello(import_s=0.0))
        serve(orders, replies, FakeWorker(replies_fd))  # type: ignore[arg-type] # It is asked nothing else.


if __name__ == "__main__":
    main()
