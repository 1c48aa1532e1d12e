"""Looks for a while at what else uses the processors, and who does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from stepbench.examination import BusyProcess, Load
from stepbench.measuring.hardware import clean

WATCH_S = 1.0
"""Long against the kernel's tick of mostly 10 ms."""
NAMED = 3
"""Processes that are named, at most."""
WORTH_NAMING = 0.05
"""Processors' worth of time from which on a process is named."""
_STAT = Path("/proc/stat")
_IDLE = (3, 4, 7)
"""idle, iowait and steal, of the numbers in a line of ``/proc/stat``."""
_COUNTED = 8
"""The guest times after these are already in them."""


class CoreTicks(msgspec.Struct, frozen=True):
    """Time of some processors together since boot, in kernel ticks."""

    busy: int
    """With work of this system: not idle, and not taken by a hypervisor."""
    total: int


class Times(NamedTuple):
    """A process, and the processor seconds that it has used."""

    name: str
    seconds: float


def watch_load(seconds: float = WATCH_S) -> Load:
    """Sleep for ``seconds`` and say what others did meanwhile on the processors that this process may use."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    known, before = _processor_times(), read_core_ticks(cores)
    started, own = time.monotonic(), time.process_time()
    time.sleep(seconds)
    own, elapsed = time.process_time() - own, time.monotonic() - started
    after = read_core_ticks(cores)
    others = None if before is None or after is None else busy_cores(before, after, len(cores))
    return Load(
        cores=len(cores),
        others_cores=None if others is None else max(0.0, others - own / elapsed),
        busiest=busiest(known, _processor_times(), elapsed),
    )


def busy_cores(before: CoreTicks, after: CoreTicks, cores: int) -> float:
    """How many of ``cores`` processors were busy on average between two moments."""
    elapsed = after.total - before.total
    return cores * min(max((after.busy - before.busy) / elapsed, 0.0), 1.0) if elapsed > 0 else 0.0


def busiest(before: Mapping[int, Times], after: Mapping[int, Times], seconds: float) -> tuple[BusyProcess, ...]:
    """The processes that used most, from their times at two moments; one that began in between is counted whole."""
    nothing = Times("", 0.0)
    used = [
        BusyProcess(pid, found.name, (found.seconds - before.get(pid, nothing).seconds) / seconds)
        for pid, found in after.items()
    ]
    used.sort(key=lambda process: -process.cores)
    return tuple(process for process in used[:NAMED] if process.cores >= WORTH_NAMING)


def read_core_ticks(cores: Iterable[int], path: Path = _STAT) -> CoreTicks | None:
    """The ticks of these processors, summed; ``None`` on a system without ``/proc/stat``."""
    try:
        return parse_core_ticks(path.read_text(encoding="ascii", errors="replace"), cores)
    except OSError:
        return None


def parse_core_ticks(text: str, cores: Iterable[int]) -> CoreTicks | None:
    """From the text of ``/proc/stat``; ``None`` when it has none of these processors."""
    wanted = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in text.splitlines())
    rows = [_numbers(words[1 : _COUNTED + 1]) for words in lines if words and words[0] in wanted]
    ticks = [row for row in rows if len(row) == _COUNTED]
    if not ticks:
        return None
    total = sum(map(sum, ticks))
    return CoreTicks(total - sum(row[column] for row in ticks for column in _IDLE), total)


def _numbers(words: list[str]) -> list[int]:
    return [int(word) for word in words if word.isdecimal()]


def _processor_times() -> dict[int, Times]:
    """Of every other process, by its number."""
    return {
        process.pid: Times(clean(process.info["name"] or "?"), times.user + times.system)
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.pid != os.getpid() and (times := process.info["cpu_times"])
    }
