"""How much of the processors others used while something was measured."""

from __future__ import annotations

import resource
import time

import psutil

from stepbench.pairs import Disturbance

_BUSY = ("user", "nice", "system", "irq", "softirq")


class LoadMeter:
    """Counts from its making on; our own workers count as ours once they are ended and waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._stolen = _machine_seconds()
        self._own = _own_seconds()

    def read(self) -> Disturbance:
        """Cores used by other processes, and cores that the hypervisor gave to others, on average since the making."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        busy, stolen = _machine_seconds()
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return Disturbance(max(0.0, others) / elapsed, max(0.0, stolen - self._stolen) / elapsed)


def _machine_seconds() -> tuple[float, float]:
    """Processor seconds since boot, of all cores: worked, and stolen. What a system does not count is 0."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in _BUSY), getattr(times, "steal", 0.0)


def _own_seconds() -> float:
    """Of this process and of all its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
