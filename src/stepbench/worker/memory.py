"""Inside a worker: the peaks of its memory, phase by phase."""

from __future__ import annotations

import contextlib
from pathlib import Path

import tensorflow as tf

from stepbench.records.cases import Device


class PeakMemory:
    """Reads and resets the peaks of resident memory, and of the accelerator's where there is one."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.phases: dict[str, int] = {}
        """Bytes at the peak of each phase: the accelerator's, or on CPU resident ones above the baseline."""
        self.peak_rss = 0
        """Of all phases."""
        self.device_peak: int | None = None
        """Of all phases; None on CPU."""
        _reset_peak_rss()
        self.baseline_rss = _status_bytes("VmRSS")

    def end_phase(self, name: str) -> None:
        """Take the peaks since the last phase's end, or since the beginning, and begin new ones."""
        rss = _status_bytes("VmHWM")
        self.peak_rss = max(self.peak_rss, rss)
        self.phases[name] = max(0, rss - self.baseline_rss)
        _reset_peak_rss()
        if self._device is not Device.CPU:
            peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
            self.device_peak = max(self.device_peak or 0, peak)
            self.phases[name] = peak
            tf.config.experimental.reset_memory_stats("GPU:0")


def _reset_peak_rss() -> None:
    """Begin a new peak of resident memory. Where the kernel does not let us, a peak covers what came before it too."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
