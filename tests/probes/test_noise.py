from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbench.probes.noise import (
    CpuTicks,
    NoiseSample,
    Switches,
    noise_between,
    own_switches,
    parse_stat,
    read_noise,
    read_ticks,
)
from stepbench.records.machine import Noise

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


STILL = Switches(0, 0)


def sample(steal: int = 0, iowait: int = 0, total: int = 0, switches: Switches = STILL) -> NoiseSample:
    return NoiseSample(CpuTicks(steal, iowait, total), switches)


def test_the_first_line_of_stat() -> None:
    # The guest times after steal are part of user and nice: they must not be counted twice.
    assert parse_stat("cpu  10 20 30 40 50 60 70 80 900 1000") == CpuTicks(steal=80, iowait=50, total=360)


@pytest.mark.parametrize(
    "line", ["", "cpu", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7", "cpu 1 2 3 4 5 6 7 x", "intr 1"]
)
def test_anything_else_is_not_understood(line: str) -> None:
    assert parse_stat(line) is None


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parse_stat(text)


def test_shares_are_of_all_time_that_passed() -> None:
    disturbed = noise_between(sample(steal=100, iowait=200, total=1000), sample(steal=115, iowait=205, total=1100))
    assert (disturbed.steal_share, disturbed.iowait_share) == (0.15, 0.05)


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (sample(steal=10, total=100), sample(steal=9, total=200), 0.0),  # Went backwards.
        (sample(steal=10, total=100), sample(steal=10, total=100), 0.0),  # No time passed.
        (sample(steal=10, total=100), sample(steal=15, total=100), 0.0),  # Nor here.
        (sample(steal=10, total=100), sample(steal=20, total=90), 0.0),  # All of it went backwards.
        (sample(steal=10, total=100), sample(steal=30, total=110), 1.0),  # Outran the total.
    ],
)
def test_a_share_stays_between_0_and_1(before: NoiseSample, after: NoiseSample, share: float) -> None:
    assert noise_between(before, after).steal_share == share


def test_switches_are_counted() -> None:
    disturbed = noise_between(sample(switches=Switches(5, 7)), sample(switches=Switches(9, 7)))
    assert (disturbed.voluntary_switches, disturbed.involuntary_switches) == (4, 0)


@pytest.mark.parametrize("silent", [0, 1])
def test_shares_are_unknown_where_either_sample_has_no_ticks(silent: int) -> None:
    samples = [sample(total=1), sample(total=2)]
    samples[silent] = NoiseSample(None, STILL)
    assert noise_between(*samples) == Noise(voluntary_switches=0, involuntary_switches=0)


def test_a_system_without_stat_and_one_longer_than_what_is_read(tmp_path: Path) -> None:
    assert read_ticks(tmp_path / "stat") is None
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 8 9 10\n" + "cpu0 1 2 3 4 5 6 7 8 9 10\n" * 1000)
    assert read_ticks(tmp_path / "stat") == CpuTicks(steal=8, iowait=5, total=36)


def test_sleeping_is_a_voluntary_switch() -> None:
    before = own_switches()
    for _ in range(5):
        time.sleep(0.001)
    assert own_switches().voluntary >= before.voluntary + 5


@linux_only
def test_time_passes_for_all_cpus() -> None:
    before = read_noise()
    time.sleep(0.1)
    after = read_noise()
    assert before.ticks is not None
    assert after.ticks is not None
    assert after.ticks.total > before.ticks.total


@linux_only
def test_no_file_is_left_open() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    read_noise()
    assert open_files() <= before
