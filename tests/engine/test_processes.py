"""Workers that are forked, from outside; fake ones, as what is looked at is how they come about and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fake_fork_server import KERAS
from faking import SERVER
from processes import ended, soon

from stepbench.engine import processes
from stepbench.engine.asking import describe
from stepbench.engine.pool import Pool
from stepbench.engine.worker import Surroundings, WorkerError
from stepbench.errors import StepbenchError
from stepbench.records.cases import GRAPH, Case, Device, Precision, Variant
from stepbench.records.protocol import Describe, Prepare
from stepbench.records.run import FailureKind


def prepare(execution: str) -> Prepare:
    case = Case("tiny", Variant(execution, Precision.FLOAT32), Device.CPU, 16)
    return Prepare(case, "tiny.py:workload", (), "synthetic", seed=0, block_seconds=0.1)


pytestmark = pytest.mark.usefixtures("fake_workers")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool[str]]:
    with Pool[str](tmp_path / "logs", forks=True) as started:
        yield started


def process(pool: Pool[str], key: str) -> psutil.Process:
    return psutil.Process(pool._workers[key]._process.pid)


def said(pool: Pool[str], key: str) -> dict[str, str]:
    """What a worker says of itself."""
    pool.ask(key, prepare("telling"), 60)
    log = Path(pool._logs, f"{key}.x.log").read_text()
    found: dict[str, str] = json.loads(log.splitlines()[-1])
    return found


def test_workers_are_forked_from_one_process_and_lead_sessions_of_their_own(pool: Pool[str]) -> None:
    for key in ("one", "two"):
        pool.start(key, "x")
        pool.greet(key)
    parents = {process(pool, key).ppid() for key in ("one", "two")}
    assert len(parents) == 1
    assert parents != {os.getpid()}
    for key in ("one", "two"):
        pid = process(pool, key).pid
        assert os.getsid(pid) == os.getpgid(pid) == pid


def test_nothing_is_shared_that_should_not_be(pool: Pool[str], tmp_path: Path) -> None:
    for key in ("one", "two"):
        (tmp_path / key).mkdir()
        pool.start(key, "x", Surroundings({"PYTHONPATH": str(tmp_path / key)}, tmp_path / key))
        pool.greet(key)
    one, two = said(pool, "one"), said(pool, "two")
    assert process(pool, "one").ppid() == process(pool, "two").ppid()
    for name in ("random", "numpy", "temporary", "folder"):
        assert one[name] != two[name], name
    assert (one["path"], two["path"]) == (str(tmp_path / "one"), str(tmp_path / "two"))
    assert one["descriptors"] == two["descriptors"] == "5", "streams, orders and replies"


def test_other_variables_that_tensorflow_may_read_need_another_server(pool: Pool[str]) -> None:
    for key, environment in (("one", {}), ("two", {"TF_ENABLE_ONEDNN_OPTS": "0"})):
        pool.start(key, "x", Surroundings(environment))
        pool.greet(key)
    assert process(pool, "one").ppid() != process(pool, "two").ppid()


@pytest.mark.parametrize(
    ("execution", "kind", "words"),
    [("aborting", FailureKind.CRASH, "SIGABRT"), ("quitting", FailureKind.CRASH, "exited with code 7")],
)
def test_how_a_forked_worker_died_is_told_apart(pool: Pool[str], execution: str, kind: FailureKind, words: str) -> None:
    for key in ("one", "two"):
        pool.start(key, "x")
        pool.greet(key)
    with pytest.raises(WorkerError) as caught:
        pool.ask("one", prepare(execution), 60)
    assert caught.value.failure.kind is kind
    assert words in caught.value.failure.message
    pool.end("one")
    assert pool.ask("two", prepare("graph"), 60), "it costs that worker alone"


def test_a_dead_workers_number_stays_its_own_until_it_is_ended(pool: Pool[str]) -> None:
    pool.start("one", "x")
    pool.greet("one")
    pid = process(pool, "one").pid
    os.kill(pid, signal.SIGKILL)
    assert soon(lambda: ended(pid), 2)
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    pool.end("one")
    assert not psutil.pid_exists(pid)


def server_of_one_worker(logs: Path, *, is_timed: bool = False, environment: dict[str, str] | None = None) -> int:
    """The process that the one worker of a pool was forked from; the worker is gone when the pool is left."""
    with Pool[str](logs, forks=True, is_timed=is_timed) as pool:
        pool.start("one", "x", Surroundings(environment or {}))
        pool.greet("one")
        worker = process(pool, "one").pid
        server = process(pool, "one").ppid()
    assert ended(worker)
    return server


def test_pools_share_a_server_but_not_what_is_timed(tmp_path: Path) -> None:
    first = server_of_one_worker(tmp_path)
    assert server_of_one_worker(tmp_path) == first
    timed = [server_of_one_worker(tmp_path, is_timed=True) for _ in range(2)]
    assert timed[0] != timed[1]
    assert server_of_one_worker(tmp_path) == timed[1]
    assert ended(timed[0])


def test_no_more_than_the_last_server_is_kept(tmp_path: Path) -> None:
    first = server_of_one_worker(tmp_path)
    assert server_of_one_worker(tmp_path, environment={"TF_ENABLE_ONEDNN_OPTS": "0"}) != first
    assert ended(first)


def test_workers_end_with_the_process_that_they_are_forked_from(pool: Pool[str]) -> None:
    for key in ("stopped", "running"):
        pool.start(key, "x")
        pool.greet(key)
    pool._workers["running"].resume()
    pids = [process(pool, key).pid for key in ("stopped", "running")]
    os.kill(process(pool, "stopped").ppid(), signal.SIGKILL)
    assert soon(lambda: all(map(ended, pids)), 2)
    with pytest.raises(WorkerError) as caught:
        pool.ask("stopped", prepare("graph"), 60)
    assert caught.value.failure.kind is FailureKind.OUT_OF_MEMORY, "who else kills"


def test_what_a_worker_started_ends_though_the_server_was_killed(pool: Pool[str]) -> None:
    pool.start("one", "x")
    pool.greet("one")
    pool.ask("one", prepare("untidy"), 60)
    leader = process(pool, "one")
    (child,) = leader.children()
    os.kill(leader.ppid(), signal.SIGKILL)
    assert soon(lambda: ended(leader.pid), 2)
    assert not ended(child.pid)
    pool.end("one")
    assert soon(lambda: ended(child.pid), 2)


def test_a_number_that_may_be_anothers_by_now_is_sent_no_signal(
    pool: Pool[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    killpg = os.killpg

    def noted(group: int, number: int) -> None:
        sent.append((group, number))
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", noted)
    for key in ("reaped", "lost"):
        pool.start(key, "x")
        pool.greet(key)
    reaped, lost = (pool._workers[key] for key in ("reaped", "lost"))
    os.kill(reaped._process.pid, signal.SIGKILL)
    assert reaped._process.wait(2) == -signal.SIGKILL
    assert sent[-1] == (reaped._process.pid, signal.SIGKILL), "what it may have left, before it is reaped"
    sent.clear()
    reaped.resume()
    reaped.kill()
    os.kill(process(pool, "lost").ppid(), signal.SIGKILL)
    assert soon(lambda: ended(lost._process.pid), 2)
    lost.resume()
    lost.kill()
    assert sent == []


PARENT = """
import sys, time
from pathlib import Path
from stepbench.engine import processes
from stepbench.engine.pool import Pool
processes.SERVER = tuple(sys.argv[2:])
with Pool(Path(sys.argv[1]), forks=True) as pool:
    pool.start("one", "x")
    pool.greet("one")
    print(pool._workers["one"]._process.pid, flush=True)
    time.sleep(3600)
"""


def test_workers_end_with_the_parent_of_the_process_that_they_are_forked_from(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), *SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        server = psutil.Process(pid).ppid()
        parent.kill()
        assert soon(lambda: ended(pid) and ended(server), 2)


DESCRIBE = Describe(("tiny.py:workload",), (GRAPH,), (), "synthetic")


def test_what_a_fork_server_that_has_threads_says_is_kept_and_a_worker_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threaded = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    (tmp_path / "keras.py").write_text(threaded)
    assert describe(DESCRIBE, tmp_path / "logs")[1] is None
    monkeypatch.setenv(KERAS, str(tmp_path))
    assert describe(DESCRIBE, tmp_path / "logs")[1] == "importing TensorFlow and Keras starts threads"


def test_a_server_that_does_not_come_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SERVER", ("false",))
    assert describe(DESCRIBE, tmp_path / "logs")[1] == "the process that forks workers has ended"
    with Pool[str](tmp_path / "logs", forks=True) as pool, pytest.raises(StepbenchError, match="forked any more"):
        pool.start("one", "x")


def test_a_server_that_is_gone_is_replaced(pool: Pool[str]) -> None:
    pool.start("one", "x")
    pool.greet("one")
    server = process(pool, "one").ppid()
    os.kill(server, signal.SIGKILL)
    assert soon(lambda: ended(server), 2)
    pool.start("two", "x")
    pool.greet("two")
    assert pool.ask("two", prepare("graph"), 60)
