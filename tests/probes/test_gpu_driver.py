from __future__ import annotations

from pathlib import Path

import pytest

from stepbench.probes import gpu
from stepbench.probes.gpu import read_driver

VERSION = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (builder@host)
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
OLD_VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n"
PARAMS = "ModifyDeviceFiles: 1\nRmProfilingAdminOnly: {}\nPreserveVideoMemoryAllocations: 1\n"


class Nvml:
    """A driver's library that answers, or says why not."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name.
        if self.problem:
            raise RuntimeError(self.problem)

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name.
        pass


def plant(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_without_nvidia(tmp_path: Path) -> None:
    driver = read_driver(Nvml("NVML Shared Library Not Found"), tmp_path)
    assert (driver.boards, driver.version, driver.restricts_profiling) == (0, None, None)
    assert driver.nvml_problem == "NVML Shared Library Not Found"


def test_graphics_processors_are_counted_without_a_driver(tmp_path: Path) -> None:
    devices = {"0": ("0x10de", "0x030200"), "1": ("0x10de", "0x030000"), "2": ("0x10de", "0x040300"),  # 2 is its sound.
               "3": ("0x8086", "0x030000")}  # fmt: skip
    for name, (vendor, kind) in devices.items():
        plant(tmp_path, f"sys/bus/pci/devices/{name}/vendor", f"{vendor}\n")
        plant(tmp_path, f"sys/bus/pci/devices/{name}/class", f"{kind}\n")
    assert read_driver(Nvml(), tmp_path).boards == 2


@pytest.mark.parametrize(("text", "version"), [(VERSION, "570.86.15"), (OLD_VERSION, "470.57.02"), ("NVRM", None)])
def test_the_kernel_modules_version(tmp_path: Path, text: str, version: str | None) -> None:
    plant(tmp_path, "proc/driver/nvidia/version", text)
    assert read_driver(Nvml(), tmp_path).version == version


@pytest.mark.parametrize(("value", "restricted"), [("1", True), ("0", False)])
def test_who_may_read_performance_counters(tmp_path: Path, value: str, *, restricted: bool) -> None:
    plant(tmp_path, "proc/driver/nvidia/params", PARAMS.format(value))
    assert read_driver(Nvml(), tmp_path).restricts_profiling is restricted


@pytest.mark.parametrize(
    ("capabilities", "administrator"),
    [("000001fffeffffff", True), ("00000000a80425fb", False), ("0000000000000000", False), ("?", None)],
)
def test_whether_this_process_is_an_administrator(
    tmp_path: Path, capabilities: str, *, administrator: bool | None
) -> None:
    plant(tmp_path, "proc/self/status", f"Name:\tpython\nCapPrm:\tffff\nCapEff:\t{capabilities}\n")
    assert read_driver(Nvml(), tmp_path).administrator is administrator


def test_a_missing_binding_is_a_problem_and_a_driver_that_answers_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_driver(Nvml(), tmp_path).nvml_problem is None
    monkeypatch.setattr(gpu, "_load", lambda: None)
    assert read_driver(root=tmp_path).nvml_problem == "nvidia-ml-py is not installed"
