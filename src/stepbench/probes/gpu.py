"""Asks the NVIDIA driver what GPUs there are and in what state."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from stepbench.probes.hardware import ROOT, read_fact
from stepbench.records.doctor import NvidiaDriver
from stepbench.records.machine import Gpu

CLOCK_LIMITS = {
    0x001: "gpu_idle",
    0x002: "application_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
}
"""NVML's clocks event reasons, by bit."""

_SM_CLOCK = 1
_MEMORY_CLOCK = 2
_TEMPERATURE_OF_GPU = 0
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
"""Of VGA and 3D controllers: what PCI calls a graphics processor."""
_CAP_SYS_ADMIN = 21


def read_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """Every GPU that the driver shows, also those that ``CUDA_VISIBLE_DEVICES`` hides; empty without a driver.

    Args:
        nvml: the module to ask, with ``pynvml``'s functions; ``None`` loads that one.
    """
    driver = _Driver(_load() if nvml is None else nvml)
    if not driver.start():
        return ()
    try:
        handles = (driver.ask("nvmlDeviceGetHandleByIndex", index) for index in range(driver.count()))
        return tuple(_read_gpu(driver, handle) for handle in handles if handle is not None)
    finally:
        driver.ask("nvmlShutdown")


def read_driver(nvml: Any = None, root: Path = ROOT) -> NvidiaDriver:
    """What there is of NVIDIA's driver, also where it does not work.

    Args:
        nvml: as :func:`read_gpus`.
        root: where ``/proc`` and ``/sys`` are looked for.
    """
    version = _found(r"Kernel Module.*?(\d+\.[\d.]+)", root, "proc/driver/nvidia/version")
    restricts = _found(r"^RmProfilingAdminOnly: (\d)", root, "proc/driver/nvidia/params")
    capabilities = _found(r"^CapEff:\s*([0-9a-f]+)$", root, "proc/self/status")
    return NvidiaDriver(
        boards=sum(map(_is_board, (root / "sys/bus/pci/devices").glob("*"))),
        version=version[1] if version else None,
        nvml_problem=_nvml_problem(nvml),
        restricts_profiling=restricts[1] != "0" if restricts else None,
        administrator=bool(int(capabilities[1], 16) >> _CAP_SYS_ADMIN & 1) if capabilities else None,
    )


def _found(pattern: str, root: Path, path: str) -> re.Match[str] | None:
    return re.search(pattern, read_fact(root, path) or "", re.MULTILINE)


def _nvml_problem(nvml: Any) -> str | None:
    driver = _Driver(_load() if nvml is None else nvml)
    if driver.start():
        driver.ask("nvmlShutdown")
    return driver.problem


def _is_board(device: Path) -> bool:
    return read_fact(device, "vendor") == _NVIDIA and (read_fact(device, "class") or "").startswith(_DISPLAY_CLASS)


class _Driver:
    """NVML where each question may go unanswered: GPUs, drivers and bindings all lack some functions."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.problem: str | None = None
        """Why it could not be started."""

    def start(self) -> bool:
        if self._nvml is None:
            self.problem = "nvidia-ml-py is not installed"
            return False
        try:
            self._nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - no library, no driver, a broken one: for us there is no GPU.
            self.problem = str(error)
            return False
        return True

    def ask(self, function: str, *arguments: object) -> Any:
        try:
            return getattr(self._nvml, function)(*arguments)
        except Exception:  # noqa: BLE001 - whatever went wrong, the fact is unknown and measuring goes on.
            return None

    def count(self) -> int:
        return self.ask("nvmlDeviceGetCount") or 0

    def first(self, function: str, *arguments: object) -> Any:
        """The first item of the answer, e.g. of (current, pending)."""
        answer = self.ask(function, *arguments)
        return answer[0] if answer else None


def _load() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _read_gpu(driver: _Driver, handle: object) -> Gpu:
    memory = driver.ask("nvmlDeviceGetMemoryInfo", handle)
    return Gpu(
        name=driver.ask("nvmlDeviceGetName", handle),
        uuid=driver.ask("nvmlDeviceGetUUID", handle),
        driver=driver.ask("nvmlSystemGetDriverVersion"),
        cuda=_cuda_version(driver.ask("nvmlSystemGetCudaDriverVersion")),
        compute_capability=_pair(driver.ask("nvmlDeviceGetCudaComputeCapability", handle)),
        memory_total_bytes=getattr(memory, "total", None),
        memory_used_bytes=getattr(memory, "used", None),
        sm_clock_mhz=driver.ask("nvmlDeviceGetClockInfo", handle, _SM_CLOCK),
        sm_clock_max_mhz=driver.ask("nvmlDeviceGetMaxClockInfo", handle, _SM_CLOCK),
        memory_clock_mhz=driver.ask("nvmlDeviceGetClockInfo", handle, _MEMORY_CLOCK),
        memory_clock_max_mhz=driver.ask("nvmlDeviceGetMaxClockInfo", handle, _MEMORY_CLOCK),
        power_limit_w=_watts(driver.ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
        power_draw_w=_watts(driver.ask("nvmlDeviceGetPowerUsage", handle)),
        temperature_c=driver.ask("nvmlDeviceGetTemperature", handle, _TEMPERATURE_OF_GPU),
        persistence=_switch(driver.ask("nvmlDeviceGetPersistenceMode", handle)),
        mig=_switch(driver.first("nvmlDeviceGetMigMode", handle)),
        ecc=_switch(driver.first("nvmlDeviceGetEccMode", handle)),
        clock_limits=_clock_limits(driver, handle),
        pcie_generation=driver.ask("nvmlDeviceGetCurrPcieLinkGeneration", handle),
        pcie_width=driver.ask("nvmlDeviceGetCurrPcieLinkWidth", handle),
        other_processes=_other_processes(driver, handle),
    )


def _clock_limits(driver: _Driver, handle: object) -> tuple[str, ...] | None:
    mask = driver.ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if mask is None:  # Drivers before 535 know it by its old name.
        mask = driver.ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if mask is None else tuple(name for bit, name in CLOCK_LIMITS.items() if mask & bit)


def _other_processes(driver: _Driver, handle: object) -> int | None:
    processes = driver.ask("nvmlDeviceGetComputeRunningProcesses", handle)
    return None if processes is None else sum(process.pid != os.getpid() for process in processes)


def _cuda_version(number: int | None) -> str | None:
    """From 12040 to ``12.4``."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _switch(state: int | None) -> bool | None:
    return None if state is None else bool(state)


def _pair(version: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if version is None else (version[0], version[1])
