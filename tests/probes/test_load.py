from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import psutil
import pytest

from stepbench.probes.load import Times, busiest, processor_seconds, watch_load
from stepbench.probes.meter import LoadMeter
from stepbench.records.gate import Disturbance

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_busiest_few_are_named_and_the_idle_are_not() -> None:
    before = {1: Times("init", 50.0), 2: Times("encoder", 10.0), 3: Times("shell", 1.0)}
    after = {1: Times("init", 50.0), 2: Times("encoder", 12.0), 4: Times("new", 1.0)}
    assert [(process.pid, process.name, process.cores) for process in busiest(before, after, 2.0)] == [
        (2, "encoder", 1.0),
        (4, "new", 0.5),
    ]
    after = {pid: Times("spinner", 1.0) for pid in range(10)}
    assert len(busiest({}, after, 1.0)) == 3


@linux_only
def test_a_busy_loop_shows_as_the_work_of_others() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        try:
            load = watch_load(0.3)
        finally:
            spinner.kill()
    assert load.cores == len(os.sched_getaffinity(0))
    assert load.others_cores is not None
    assert load.others_cores > 0.1
    assert load.busiest
    assert os.getpid() not in {process.pid for process in load.busiest}


class Ticks(NamedTuple):
    """As psutil gives the times of a processor on Linux, in seconds."""

    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    irq: float = 0.0
    softirq: float = 0.0
    steal: float = 0.0
    guest: float = 0.0


class Fewer(NamedTuple):
    """As on a system that counts less."""

    user: float
    system: float
    idle: float


def test_work_is_told_from_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Ticks(user=1, nice=2, system=4, idle=100, iowait=100, irq=8, softirq=16, steal=32, guest=1)
    for listed, expected in (([full], (31, 32)), ([full, full], (62, 64)), ([Fewer(user=1, system=2, idle=9)], (3, 0))):
        monkeypatch.setattr("psutil.cpu_times", lambda listed=listed, **_: listed)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
        assert processor_seconds() == expected


@linux_only
def test_processors_of_others_do_not_count_and_those_numbered_after_a_gap_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_times", lambda **_: [Ticks(user=1), Ticks(user=2), Ticks(user=4)])
    for usable, worked in (({0, 2}, 5), ({0, 2, 3}, 7)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, usable=usable: usable)
        found = processor_seconds()
        assert found
        assert found.worked == worked


@pytest.mark.parametrize("error", [PermissionError, psutil.AccessDenied])
def test_a_system_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr("psutil.cpu_times", refuse)
    assert processor_seconds() is None
    assert watch_load(0.01).others_cores is None
    assert LoadMeter().read() == Disturbance(0.0, 0.0)


@linux_only
@pytest.mark.parametrize(
    ("after", "others"),
    [
        ([Ticks(user=1.0), Ticks()], 0.0),  # This process's own second.
        ([Ticks(user=1.0), Ticks(system=1.0)], 1.0),
        ([Ticks(user=1.0), Ticks(steal=1.0)], 0.0),
        ([Ticks(user=1.0), Ticks(), Ticks(user=1.0)], 0.0),  # On a processor that this process may not use.
        ([Ticks(), Ticks()], 0.0),  # Coarser ticks than the process's own clock.
    ],
)
def test_the_work_of_others_is_what_this_process_did_not_do(
    monkeypatch: pytest.MonkeyPatch, after: list[Ticks], others: float
) -> None:
    ticks = iter([[Ticks()] * len(after), after])
    own = iter([0.0, 1.0])
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("psutil.cpu_times", lambda **_: next(ticks))
    monkeypatch.setattr("time.process_time", lambda: next(own))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert watch_load(0.0).others_cores == others
