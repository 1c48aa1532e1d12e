"""Worker processes, seen from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import places
import psutil
import pytest

from stepbench.engine import pool
from stepbench.engine.pool import Pool, Worker, WorkerError, describe
from stepbench.errors import StepbenchError
from stepbench.records.cases import GRAPH, Case, Device, Precision, Variant
from stepbench.records.protocol import Describe, Measure, Prepare
from stepbench.records.run import FailureKind

pytestmark = pytest.mark.tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG_S = 120
TINY = f"{places.TINY}:workload"
CASE = Case("tiny", Variant(GRAPH, Precision.FLOAT32), Device.CPU, 16)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """One that has just been started and still imports TensorFlow."""
    started = Worker(tmp_path / "worker.log")
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One in the middle of a block of half an hour."""
    started = Worker(tmp_path_factory.mktemp("logs") / "busy.log")
    try:
        started.greet()
        order = Prepare(CASE, TINY, (), "synthetic", seed=0, block_seconds=1800)
        started.ask(order, LONG_S)
        with pytest.raises(WorkerError) as caught:
            started.ask(Measure(0), 0.5)
        assert caught.value.failure.kind is FailureKind.TIMEOUT
        yield started
    finally:
        started.kill()


def soon(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ended(pid: int) -> bool:
    try:
        # In a container nobody may ask how an orphan ended.
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stopped_worker_uses_no_processor(busy: Worker) -> None:
    busy.stop()
    assert soon(lambda: all_threads_stopped(busy._process.pid), LONG_S)
    used = busy.cpu_seconds()
    time.sleep(1)
    assert busy.cpu_seconds() == used
    busy.resume()
    assert soon(lambda: busy.cpu_seconds() > used, LONG_S)


def all_threads_stopped(pid: int) -> bool:
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return set(states) == {"T"}


def test_a_stopped_worker_can_be_killed(worker: Worker) -> None:
    worker.stop()
    worker.kill()
    assert ended(worker._process.pid)
    assert worker.cpu_seconds() == 0


def test_killing_again_harms_nobody(worker: Worker) -> None:
    worker.kill()
    # These take over the numbers of the pipes that the worker had.
    successors = [os.pipe() for _ in range(4)]
    worker.kill()
    for read, write in successors:
        os.write(write, b"still open")
        assert os.read(read, 100) == b"still open"
        os.close(read)
        os.close(write)


def test_killing_a_worker_ends_what_it_started(tmp_path: Path) -> None:
    plugin = tmp_path / "starts_a_child.py"
    child = tmp_path / "child"
    plugin.write_text(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '3600'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(child.pid))\n"
    )
    order = Describe((TINY,), (GRAPH,), (str(plugin),), "synthetic")
    described = describe(order, tmp_path)
    assert described.workloads == {"tiny": TINY}
    assert soon(lambda: ended(int(child.read_text())), 2)


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (signal.SIGKILL, FailureKind.OUT_OF_MEMORY, "kernel"),
        (signal.SIGSEGV, FailureKind.CRASH, "SIGSEGV"),
        (signal.SIGTERM, FailureKind.CRASH, "SIGTERM"),
    ],
)
def test_how_a_worker_died_is_told_apart(worker: Worker, number: signal.Signals, kind: FailureKind, said: str) -> None:
    os.kill(worker._process.pid, number)
    with pytest.raises(WorkerError, match=said) as caught:
        worker.ask(Measure(0), LONG_S)
    assert caught.value.failure.kind is kind


def test_a_worker_is_ended_before_memory_runs_out(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "memory_left", lambda: (5 << 30, 100 << 30))
    with pytest.raises(WorkerError, match=r"when 5\.0 GiB were left") as caught:
        worker.greet(LONG_S)
    assert caught.value.failure.kind is FailureKind.OUT_OF_MEMORY


def test_memory_enough_is_no_reason_to_end_a_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "memory_left", lambda: (20 << 30, 100 << 30))
    with pytest.raises(WorkerError) as caught:
        worker.greet(0.6)
    assert caught.value.failure.kind is FailureKind.TIMEOUT


def test_memory_is_that_of_this_machine_at_most() -> None:
    available, limit = pool.memory_left()
    assert 0 < available <= limit <= psutil.virtual_memory().total


def test_a_pool_ends_its_workers_whatever_happens(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Pool[Case](tmp_path) as workers:
            workers.start(CASE, 0)
            raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert psutil.Process().children() == before


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(StepbenchError, match="choose another --results"):
        Worker(tmp_path / "logs" / "worker.log")


PARENT = """
import os, pathlib, signal, sys, time
from stepbench.engine.pool import Worker

worker = Worker(pathlib.Path(sys.argv[1]))
if sys.argv[2] == "stopped":
    worker.greet()
    worker.stop()
print(worker._process.pid, flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("state", ["stopped", "starting"])
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, state: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log"), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not ended(pid)
        parent.kill()
        try:
            assert soon(lambda: ended(pid), 2)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
