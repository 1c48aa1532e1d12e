"""How much of the processors others used while something was measured."""

from __future__ import annotations

import resource
import time

from stepbench.probes.load import ProcessorSeconds, processor_seconds
from stepbench.records.gate import Disturbance


class LoadMeter:
    """Counts from its making on; our own workers count as ours once they are ended and waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._machine = _machine_seconds()
        self._own = _own_seconds()

    def read(self) -> Disturbance:
        """Cores used by other processes, and cores that the hypervisor gave to others, on average since the making."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        now = _machine_seconds()
        others = (now.worked - self._machine.worked) - (_own_seconds() - self._own)
        return Disturbance(max(0.0, others) / elapsed, max(0.0, now.stolen - self._machine.stolen) / elapsed)


def _machine_seconds() -> ProcessorSeconds:
    return processor_seconds() or ProcessorSeconds(0.0, 0.0)


def _own_seconds() -> float:
    """Of this process and of all its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
