"""Looks for a while at what else uses the processors, and who does."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

import psutil

from stepbench.probes.hardware import clean, usable_processors
from stepbench.records.doctor import BusyProcess, Load

WATCH_S = 1.0
"""Long against the kernel's tick of mostly 10 ms."""
NAMED = 3
"""Processes that are named, at most."""
WORTH_NAMING = 0.05
"""Processors' worth of time from which on a process is named."""
_BUSY = ("user", "nice", "system", "irq", "softirq")
"""Work of this system: guest times are in the user's already, and idle, iowait and steal are none."""


class ProcessorSeconds(NamedTuple):
    """Of some processors together; what a system does not count is 0."""

    worked: float
    stolen: float
    """By a hypervisor, for others."""


class Times(NamedTuple):
    """A process, and the processor seconds that it has used."""

    name: str
    seconds: float


def watch_load(seconds: float = WATCH_S) -> Load:
    """Sleep for ``seconds`` and say what others did meanwhile on the processors that this process may use."""
    known, before = _processor_times(), processor_seconds()
    started, own = time.monotonic(), time.process_time()
    time.sleep(seconds)
    own, elapsed = time.process_time() - own, time.monotonic() - started
    after = processor_seconds()
    return Load(
        cores=len(usable_processors()),
        others_cores=max(0.0, after.worked - before.worked - own) / elapsed if before and after else None,
        busiest=busiest(known, _processor_times(), elapsed),
    )


def processor_seconds() -> ProcessorSeconds | None:
    """Of the processors that this process may use, since boot; None where the system does not tell."""
    try:
        every = psutil.cpu_times(percpu=True)
    except (OSError, psutil.Error):
        return None
    usable = usable_processors()
    # They are listed by number without it; so where some are offline, a part of the others may be taken for another.
    times = [each for core, each in enumerate(every) if core in usable or len(usable) >= len(every)]
    worked = math.fsum(getattr(each, name, 0.0) for each in times for name in _BUSY)
    return ProcessorSeconds(worked, math.fsum(getattr(each, "steal", 0.0) for each in times))


def busiest(before: Mapping[int, Times], after: Mapping[int, Times], seconds: float) -> tuple[BusyProcess, ...]:
    """The processes that used most, from their times at two moments; one that began in between is counted whole."""
    nothing = Times("", 0.0)
    used = [
        BusyProcess(pid, found.name, (found.seconds - before.get(pid, nothing).seconds) / seconds)
        for pid, found in after.items()
    ]
    used.sort(key=lambda process: -process.cores)
    return tuple(process for process in used[:NAMED] if process.cores >= WORTH_NAMING)


def _processor_times() -> dict[int, Times]:
    """Of every other process, by its number."""
    return {
        process.pid: Times(clean(process.info["name"] or "?"), times.user + times.system)
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.pid != os.getpid() and (times := process.info["cpu_times"])
    }
