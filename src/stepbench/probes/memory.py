"""How much memory is left on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import psutil


def memory_left() -> tuple[int, int]:
    """Bytes available and bytes in all, the container's limit respected."""
    memory = psutil.virtual_memory()
    cgroup = Path("/sys/fs/cgroup")
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (cgroup / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # No such limit.
        return memory.available, memory.total
    reclaimable = int(cached[1]) if cached else 0
    return min(memory.available, limit - used + reclaimable), min(memory.total, limit)
