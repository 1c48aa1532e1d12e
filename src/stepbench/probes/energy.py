"""The energy that a device has used, by its own counters: NVML's for a GPU, RAPL's for processors.

Where there is no counter, or it may not be read, the energy is unknown: most kernels let only root read RAPL's.
NVML's moves about every 100 ms, so that of a short interval is rough.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepbench.probes.hardware import read_fact
from stepbench.records.cases import Device

MICRO, MILLI = 1e-6, 1e-3
_PACKAGES = "sys/class/powercap/intel-rapl:*"
"""Whole processors. What has two colons is a part of one. AMD's processors have it under the same name."""
_BUS_ID_BYTES = 32


@dataclass(frozen=True)
class EnergyMeter:
    """Reads counters that only rise, each up to its range, beyond which it begins anew."""

    read: Callable[[], tuple[int, ...] | None]
    joules_a_count: float
    ranges: tuple[int, ...]
    """Zero for a counter that never begins anew."""

    def joules(self, before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> float | None:
        """Used between two readings, no further apart than a counter takes to go round, which is minutes."""
        if before is None or after is None:
            return None
        counts = [
            now - then + (whole if now < then else 0)
            for then, now, whole in zip(before, after, self.ranges, strict=True)
        ]
        return sum(counts) * self.joules_a_count if min(counts) >= 0 else None


def open_meter(device: Device, root: Path = Path("/"), nvml: Any = None, cuda: Any = None) -> EnergyMeter | None:
    """The meter of the first device of its kind; None where there is none that can be read.

    Args:
        device: CPU stands for all processors of the machine, whoever uses them.
        root: the file system's.
        nvml: the module to ask, with ``pynvml``'s functions; None loads that one.
        cuda: the driver's library, which knows which GPU comes first; None loads it.
    """
    return _processors(root) if device is Device.CPU else _gpu(nvml, cuda)


def _processors(root: Path) -> EnergyMeter | None:
    zones = [zone for zone in sorted(root.glob(_PACKAGES)) if zone.name.count(":") == 1 and _is_package(zone)]
    try:
        ranges = tuple(int((zone / "max_energy_range_uj").read_text()) for zone in zones)
        # Opened once: a read at the beginning of such a file asks the counter anew.
        counters = [os.open(zone / "energy_uj", os.O_RDONLY | os.O_CLOEXEC) for zone in zones]
    except (OSError, ValueError):
        return None
    meter = EnergyMeter(lambda: _read_all(counters), MICRO, ranges)
    return meter if zones and meter.read() else None


def _is_package(zone: Path) -> bool:
    """Not the whole board, which some machines count too."""
    return (read_fact(zone, "name") or "").startswith("package")


def _read_all(counters: Sequence[int]) -> tuple[int, ...] | None:
    try:
        return tuple(int(os.pread(counter, 32, 0)) for counter in counters)
    except (OSError, ValueError):
        return None


def _gpu(nvml: Any, cuda: Any) -> EnergyMeter | None:
    try:
        nvml = nvml or _load_nvml()
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(_first_bus_id(cuda or ctypes.CDLL("libcuda.so.1")))
    except Exception:  # noqa: BLE001 - no library, no driver, a GPU that is only a part of one: nothing to read.
        return None

    def read() -> tuple[int, ...] | None:
        try:
            return (int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)),)
        except Exception:  # noqa: BLE001 - GPUs before Volta do not count.
            return None

    return EnergyMeter(read, MILLI, (0,)) if read() else None


def _load_nvml() -> Any:
    import pynvml

    return pynvml


def _first_bus_id(cuda: Any) -> bytes:
    """Of the GPU that this process calls the first: NVML's order is another than CUDA's, and hides none.

    Raises:
        OSError: when the driver has no answer.
    """
    text, device = ctypes.create_string_buffer(_BUS_ID_BYTES), ctypes.c_int()
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetPCIBusId(text, _BUS_ID_BYTES, device)
    )
    if failed:
        raise OSError(f"CUDA's driver answered with error {failed}")
    return text.value
