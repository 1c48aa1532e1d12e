"""Who uses the processors while a gate measures. Shares are held against what the system says."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from stepbench.probes import meter as meters
from stepbench.probes.meter import LoadMeter

BUSY_LOOP = "import time\nends = time.monotonic() + 60\nwhile time.monotonic() < ends: pass"
WATCHED_S = 0.3
COARSE_S = 0.05
"""The kernel counts in ticks."""


def used_by(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_a_busy_loop_of_another_process_is_counted_as_the_others() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) as loop:
        watched = psutil.Process(loop.pid)
        before, meter, began = used_by(watched), LoadMeter(), time.monotonic()
        while used_by(watched) - before < 3 * COARSE_S:
            time.sleep(COARSE_S)
        seconds, taken = used_by(watched) - before, meter.read().others * (time.monotonic() - began)
        loop.kill()
    assert seconds > COARSE_S
    assert taken > seconds - COARSE_S


def test_what_this_process_and_its_ended_children_use_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, began, ours = LoadMeter(), time.monotonic(), time.process_time()
    with subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) as child:
        while time.monotonic() < began + WATCHED_S:
            pass
        used = used_by(psutil.Process(child.pid)) + time.process_time() - ours
        child.kill()
    others = meter.read().others * (time.monotonic() - began)
    monkeypatch.setattr(meters, "_own_seconds", lambda: meter._own)
    all_others = meter.read().others * (time.monotonic() - began)
    assert all_others - others > used - COARSE_S
