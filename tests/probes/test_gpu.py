from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from stepbench.probes.gpu import read_gpus
from stepbench.records.machine import Gpu


class NotSupportedError(Exception):
    """What NVML's binding raises when a GPU lacks something."""


class FakeNvml:
    """A driver that answers with the planted values; an exception among them is raised."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, object] = {"Init": None, "Shutdown": None, "DeviceGetCount": 1, **answers}
        self.asked: list[str] = []

    def __getattr__(self, function: str) -> Any:
        name = function.removeprefix("nvml")
        if name not in self.answers:
            raise AttributeError(function)

        def answer(*arguments: object) -> object:
            self.asked.append(name)
            value = self.answers[name]
            if isinstance(value, Exception):
                raise value
            return value(*arguments) if callable(value) else value

        return answer


H200 = {
    "DeviceGetHandleByIndex": lambda index: f"handle {index}",
    "DeviceGetName": "NVIDIA H200",
    "DeviceGetUUID": "GPU-1",
    "SystemGetDriverVersion": "580.65.06",
    "SystemGetCudaDriverVersion": 12040,
    "DeviceGetCudaComputeCapability": lambda _handle: (9, 0),
    "DeviceGetMemoryInfo": SimpleNamespace(total=150_000, used=500),
    "DeviceGetClockInfo": lambda _handle, kind: {1: 345, 2: 1593}[kind],
    "DeviceGetMaxClockInfo": lambda _handle, kind: {1: 1980, 2: 3201}[kind],
    "DeviceGetEnforcedPowerLimit": 700_000,
    "DeviceGetPowerUsage": 76_500,
    "DeviceGetTemperature": lambda _handle, sensor: {0: 31}[sensor],
    "DeviceGetPersistenceMode": 1,
    "DeviceGetMigMode": lambda _handle: [0, 1],
    "DeviceGetEccMode": lambda _handle: [1, 0],
    "DeviceGetCurrentClocksEventReasons": 0x41,
    "DeviceGetCurrPcieLinkGeneration": 5,
    "DeviceGetCurrPcieLinkWidth": 16,
    "DeviceGetComputeRunningProcesses": lambda _handle: [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=1)],
}
FACTS = Gpu(
    name="NVIDIA H200",
    uuid="GPU-1",
    driver="580.65.06",
    cuda="12.4",
    compute_capability=(9, 0),
    memory_total_bytes=150_000,
    memory_used_bytes=500,
    sm_clock_mhz=345,
    sm_clock_max_mhz=1980,
    memory_clock_mhz=1593,
    memory_clock_max_mhz=3201,
    power_limit_w=700.0,
    power_draw_w=76.5,
    temperature_c=31,
    persistence=True,
    mig=False,
    ecc=True,
    clock_limits=("gpu_idle", "hw_thermal_slowdown"),
    pcie_generation=5,
    pcie_width=16,
    other_processes=1,
)


def test_every_fact_survives_strict_json() -> None:
    assert read_gpus(FakeNvml(**H200)) == (FACTS,)
    assert msgspec.json.decode(msgspec.json.encode(FACTS), type=Gpu, strict=True) == FACTS


@pytest.mark.parametrize("refused", sorted(H200.keys() - {"DeviceGetHandleByIndex"}))
def test_one_unsupported_call_costs_only_its_own_facts(refused: str) -> None:
    (gpu,) = read_gpus(FakeNvml(**{**H200, refused: NotSupportedError()}))
    known = msgspec.structs.asdict(gpu)
    lost = {field for field, value in msgspec.structs.asdict(FACTS).items() if known[field] != value}
    assert 1 <= len(lost) <= 2
    assert all(known[field] is None for field in lost)


def test_a_gpu_that_answers_nothing_is_still_counted() -> None:
    nvml = FakeNvml(DeviceGetHandleByIndex=lambda index: index)
    assert read_gpus(nvml) == (Gpu(),)


def test_older_drivers_know_the_reasons_by_their_old_name() -> None:
    answers = {**H200, "DeviceGetCurrentClocksThrottleReasons": 0x4}
    del answers["DeviceGetCurrentClocksEventReasons"]
    (gpu,) = read_gpus(FakeNvml(**answers))
    assert gpu.clock_limits == ("sw_power_cap",)


def test_all_gpus_are_read_and_a_lost_one_is_left_out() -> None:
    def handle(index: int) -> str:
        if index == 1:
            raise NotSupportedError
        return f"handle {index}"

    nvml = FakeNvml(**{**H200, "DeviceGetCount": 3, "DeviceGetHandleByIndex": handle, "DeviceGetUUID": str})
    assert [gpu.uuid for gpu in read_gpus(nvml)] == ["handle 0", "handle 2"]


@pytest.mark.parametrize(
    "nvml",
    [FakeNvml(Init=NotSupportedError()), FakeNvml(DeviceGetCount=NotSupportedError()), FakeNvml(DeviceGetCount=0)],
)
def test_no_driver_or_no_gpu(nvml: FakeNvml) -> None:
    assert read_gpus(nvml) == ()


def test_the_driver_is_let_go_once_and_only_if_it_was_taken() -> None:
    taken, refused = FakeNvml(**H200), FakeNvml(Init=NotSupportedError())
    read_gpus(taken)
    read_gpus(refused)
    assert taken.asked.count("Shutdown") == 1
    assert "Shutdown" not in refused.asked


def test_the_real_library_is_asked_without_raising() -> None:
    assert isinstance(read_gpus(), tuple)
