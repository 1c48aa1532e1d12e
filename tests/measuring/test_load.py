from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbench.measuring.load import (
    CoreTicks,
    Times,
    busiest,
    busy_cores,
    parse_core_ticks,
    read_core_ticks,
    watch_load,
)

STAT = """\
cpu  30 0 30 300 3 3 3 3 9 9
cpu0 10 0 10 100 1 1 1 1 3 3
cpu1 10 0 10 100 1 1 1 1 3 3
cpu10 10 0 10 100 1 1 1 1 3 3
intr 5
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_only_the_processors_asked_for_count() -> None:
    # user, nice, system, irq and softirq are work; idle, iowait and steal are not; guest times are in user already.
    assert parse_core_ticks(STAT, [1]) == CoreTicks(busy=22, total=124)
    assert parse_core_ticks(STAT, [0, 10]) == CoreTicks(busy=44, total=248)


@pytest.mark.parametrize("text", ["", "cpu0", "cpu0 1 2 3", "cpu0 a b c d e f g h", "intr 1"])
def test_anything_else_is_not_understood(text: str) -> None:
    assert parse_core_ticks(text, [0]) is None


@settings(deadline=None)  # The machine may be busy.
@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parse_core_ticks(text, [0])


def test_a_system_without_proc_tells_nothing(tmp_path: Path) -> None:
    assert read_core_ticks([0], tmp_path / "stat") is None


@pytest.mark.parametrize(
    ("after", "cores"),
    [
        (CoreTicks(150, 1200), 1.0),
        (CoreTicks(100, 1200), 0.0),
        (CoreTicks(90, 1200), 0.0),  # Went backwards.
        (CoreTicks(100, 1000), 0.0),  # No time passed.
        (CoreTicks(900, 1200), 4.0),  # Outran the total.
    ],
)
def test_busy_processors_are_a_share_of_all_their_time(after: CoreTicks, cores: float) -> None:
    assert busy_cores(CoreTicks(100, 1000), after, 4) == cores


def test_the_busiest_are_named_and_the_idle_are_not() -> None:
    before = {1: Times("init", 50.0), 2: Times("encoder", 10.0), 3: Times("shell", 1.0)}
    after = {1: Times("init", 50.0), 2: Times("encoder", 12.0), 4: Times("new", 1.0)}
    assert [(process.pid, process.name, process.cores) for process in busiest(before, after, 2.0)] == [
        (2, "encoder", 1.0),
        (4, "new", 0.5),
    ]


def test_few_are_named() -> None:
    after = {pid: Times("spinner", 1.0) for pid in range(10)}
    assert len(busiest({}, after, 1.0)) == 3


@linux_only
def test_a_busy_loop_shows_as_the_work_of_others() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        try:
            load = watch_load()
        finally:
            spinner.kill()
    assert load.cores == len(os.sched_getaffinity(0))
    assert load.others_cores is not None
    assert load.others_cores > 0.1
    assert load.busiest
    assert os.getpid() not in {process.pid for process in load.busiest}


@linux_only
def test_own_work_is_not_counted_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ticks of a machine that does nothing but this process's work."""
    ticks = iter([CoreTicks(0, 0), CoreTicks(100, 200)])
    own = iter([0.0, 1.0])
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("stepbench.measuring.load.read_core_ticks", lambda _: next(ticks))
    monkeypatch.setattr("time.process_time", lambda: next(own))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert watch_load(0.0).others_cores == 0.0
