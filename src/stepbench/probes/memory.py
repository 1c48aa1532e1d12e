"""How much memory is left on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from stepbench.probes.hardware import ROOT, cgroups, parse_memory_limit, read_fact


def memory_left(root: Path = ROOT) -> tuple[int, int]:
    """Bytes available and bytes in all, as the tightest control group around this process has it."""
    memory = psutil.virtual_memory()
    groups = [(memory.available, memory.total), *_left_in_groups(root)]
    return min(left for left, _ in groups), min(total for _, total in groups)


def _left_in_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Of each group with a limit. What files hold and nobody uses is given back when there is need."""
    for controller, limit, used, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for group in cgroups(root, controller):
            total, taken = parse_memory_limit(read_fact(group, limit)), read_fact(group, used) or ""
            if total is not None and taken.isdecimal():
                found = re.search(rf"^{cached} (\d+)$", read_fact(group, "memory.stat") or "", re.MULTILINE)
                yield total - int(taken) + (int(found[1]) if found else 0), total
