"""Reads the counters that say whether an interval was disturbed; cheap enough for every block."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import msgspec

from stepbench.records.machine import Noise

_STAT = Path("/proc/stat")
_COUNTED = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; the guest times after them are already in user and nice."""
_IOWAIT = 4
_STEAL = 7
_FIRST_LINE_BYTES = 512


class CpuTicks(msgspec.Struct, frozen=True):
    """Time of all CPUs together since boot, in kernel ticks (mostly 10 ms)."""

    steal: int
    iowait: int
    total: int


class Switches(msgspec.Struct, frozen=True):
    """Context switches of all threads of this process, so far."""

    voluntary: int
    involuntary: int


class NoiseSample(msgspec.Struct, frozen=True):
    """The counters at one moment."""

    ticks: CpuTicks | None
    """``None`` where the system does not tell."""
    switches: Switches


def read_noise() -> NoiseSample:
    """The machine's ticks and the context switches of this process.

    It costs some 20 microseconds on a small machine, nearly all of it the kernel writing ``/proc/stat``, which grows
    with the number of CPUs.
    """
    return NoiseSample(read_ticks(), own_switches())


def noise_between(before: NoiseSample, after: NoiseSample) -> Noise:
    """What happened between two samples of the same process; no shares where either has no ticks."""
    steal, iowait = _shares_between(before.ticks, after.ticks)
    return Noise(
        steal_share=steal,
        iowait_share=iowait,
        voluntary_switches=after.switches.voluntary - before.switches.voluntary,
        involuntary_switches=after.switches.involuntary - before.switches.involuntary,
    )


def parse_stat(line: str) -> CpuTicks | None:
    """The first line of ``/proc/stat``; ``None`` when it is something else, or a kernel that does not count steal."""
    words = line.split()
    if not words or words[0] != "cpu":
        return None
    try:
        ticks = [int(word) for word in words[1 : _COUNTED + 1]]
    except ValueError:
        return None
    return CpuTicks(ticks[_STEAL], ticks[_IOWAIT], sum(ticks)) if len(ticks) == _COUNTED else None


def read_ticks(path: Path = _STAT) -> CpuTicks | None:
    """The CPUs' ticks; ``None`` on a system without ``/proc/stat``."""
    try:
        # One read of the first bytes: a buffered file would fetch and decode lines of every CPU and interrupt.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.read(descriptor, _FIRST_LINE_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return parse_stat(head.partition(b"\n")[0].decode("ascii", "replace"))


def own_switches() -> Switches:
    """Of this process: all threads, including those that have ended."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Switches(usage.ru_nvcsw, usage.ru_nivcsw)


def _shares_between(before: CpuTicks | None, after: CpuTicks | None) -> tuple[float, float] | tuple[None, None]:
    if before is None or after is None:
        return None, None
    elapsed = after.total - before.total
    return _share(after.steal - before.steal, elapsed), _share(after.iowait - before.iowait, elapsed)


def _share(part: int, whole: int) -> float:
    """Between 0 and 1: the kernel corrects these counters afterwards, so that one may go back or outrun their sum."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
