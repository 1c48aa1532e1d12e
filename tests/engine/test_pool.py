"""Worker processes, seen from outside; fake ones, as what is looked at is how the parent treats them."""

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
from fake_worker import MUTE
from processes import ended, soon

from stepbench.engine import processes
from stepbench.engine import worker as workers
from stepbench.engine.asking import describe
from stepbench.engine.pool import Pool
from stepbench.engine.worker import Surroundings, Worker, WorkerError
from stepbench.errors import StepbenchError
from stepbench.probes.memory import memory_left
from stepbench.records.cases import GRAPH, Case, Device, Precision, Variant
from stepbench.records.protocol import Describe, Measure, Prepare
from stepbench.records.run import FailureKind

pytestmark = pytest.mark.usefixtures("fake_workers")

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_S = 120


def prepare(execution: str = GRAPH) -> Prepare:
    case = Case("tiny", Variant(execution, Precision.FLOAT32), Device.CPU, 16)
    return Prepare(case, "tiny.py:workload", (), "synthetic", seed=0, block_seconds=0.1)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """One that still imports TensorFlow, for ever."""
    started = Worker(tmp_path / "worker.log", Surroundings({MUTE: ""}))
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[Worker]:
    """One that takes orders."""
    started = Worker(tmp_path / "ready.log")
    try:
        started.greet()
        yield started
    finally:
        started.kill()


def test_a_stopped_worker_uses_no_processor(ready: Worker) -> None:
    ready.ask(prepare("endless"), LONG_S)
    with pytest.raises(WorkerError, match=r"no answer within 0\.3 s") as caught:
        ready.ask(Measure(0), 0.3)
    assert caught.value.failure.kind is FailureKind.TIMEOUT
    ready.stop()
    assert soon(lambda: all_threads_stopped(ready._process.pid), LONG_S)
    used = ready.cpu_seconds()
    time.sleep(0.3)
    assert ready.cpu_seconds() == used
    ready.resume()
    assert soon(lambda: ready.cpu_seconds() > used, LONG_S)


@pytest.mark.parametrize(
    ("execution", "said"), [("misanswering", "(Measured, not Prepared)"), ("babbling", "of another stepbench")]
)
def test_an_answer_that_does_not_fit_its_order_is_an_error_of_its_case(
    ready: Worker, execution: str, said: str
) -> None:
    with pytest.raises(WorkerError, match="Its answer is not understood") as caught:
        ready.ask(prepare(execution), LONG_S)
    assert caught.value.failure.kind is FailureKind.ERROR
    assert said in caught.value.failure.message


def test_a_refusal_is_wrong_use_and_not_a_failure(tmp_path: Path) -> None:
    order = Describe(("nothing",), (GRAPH,), (), "synthetic")
    with pytest.raises(StepbenchError, match="There is no workload 'nothing'"):
        describe(order, tmp_path)


def test_a_worker_that_fails_to_describe_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "COMMAND", ("/bin/false",))
    monkeypatch.setattr(processes, "SERVER", ("/bin/false",))
    with pytest.raises(StepbenchError, match="Loading the workload failed: Its process exited with code 1"):
        describe(Describe(("tiny",), (GRAPH,), (), "synthetic"), tmp_path)


def all_threads_stopped(pid: int) -> bool:
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return set(states) == {"T"}


def test_a_stopped_worker_can_be_killed(worker: Worker) -> None:
    worker.stop()
    worker.kill()
    assert ended(worker._process.pid)
    assert worker.cpu_seconds() == 0


def test_what_a_worker_leaves_in_its_temporary_folder_goes_with_it(ready: Worker) -> None:
    folder = Path(psutil.Process(ready._process.pid).environ()["TMPDIR"])
    (folder / "__autograph_generated_file.py").touch()
    ready.kill()
    assert not folder.exists()


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


def test_killing_a_worker_ends_what_it_started(ready: Worker) -> None:
    ready.ask(prepare("untidy"), LONG_S)
    (child,) = psutil.Process(ready._process.pid).children()
    assert not ended(child.pid)
    ready.kill()
    assert soon(lambda: ended(child.pid), 2)


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


def test_a_worker_that_closes_its_pipe_and_stays_has_crashed(ready: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "EXIT_TIMEOUT_S", 0.1)
    with pytest.raises(WorkerError, match="closed its pipe, but did not exit") as caught:
        ready.ask(prepare("hanging-up"), LONG_S)
    assert caught.value.failure.kind is FailureKind.CRASH


def test_a_worker_is_ended_before_memory_runs_out(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "memory_left", lambda: (5 << 30, 100 << 30))
    with pytest.raises(WorkerError, match=r"when 5\.0 GiB were left") as caught:
        worker.greet(LONG_S)
    assert caught.value.failure.kind is FailureKind.OUT_OF_MEMORY


def test_memory_enough_is_no_reason_to_end_a_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "memory_left", lambda: (20 << 30, 100 << 30))
    with pytest.raises(WorkerError) as caught:
        worker.greet(0.4)
    assert caught.value.failure.kind is FailureKind.TIMEOUT


def test_memory_is_that_of_this_machine_at_most() -> None:
    available, limit = memory_left()
    assert 0 < available <= limit <= psutil.virtual_memory().total


def test_a_pool_ends_its_workers_whatever_happens(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Pool[str](tmp_path, forks=False) as workers:
            workers.start(GRAPH, 0)
            raise KeyboardInterrupt

    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert set(psutil.Process().children()) <= before


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(StepbenchError, match="choose another --results"):
        Worker(tmp_path / "logs" / "worker.log")


PARENT = """
import os, pathlib, signal, sys, time
from faking import FAKE
from stepbench.engine import processes
from stepbench.engine.worker import Surroundings, Worker
from fake_worker import MUTE

processes.COMMAND = FAKE
worker = Worker(pathlib.Path(sys.argv[1]), Surroundings({MUTE: ""} if sys.argv[2] == "starting" else {}))
if sys.argv[2] == "stopped":
    worker.greet()
    worker.stop()
print(worker._process.pid, flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("state", ["stopped", "starting"])
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, state: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log"), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=places.TESTS) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not ended(pid)
        parent.kill()
        try:
            assert soon(lambda: ended(pid), 2)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
