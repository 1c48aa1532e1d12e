from __future__ import annotations

import ctypes
import itertools
from pathlib import Path
from typing import Any

import pytest

from stepbench.probes.energy import EnergyMeter, open_meter
from stepbench.records.cases import Device

RANGE = 262_143_328_850


def plant(root: Path, zone: str, name: str, energy: int, limit: int = RANGE) -> Path:
    """A zone as the kernel shows it; its counter's file is given back."""
    folder = root / "sys/class/powercap" / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{energy}\n")
    return counter


def opened(root: Path) -> EnergyMeter:
    meter = open_meter(Device.CPU, root)
    assert meter is not None
    return meter


def test_joules_are_the_difference_of_two_readings_also_of_a_counter_that_began_anew(tmp_path: Path) -> None:
    counter = plant(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    meter = opened(tmp_path)
    before = meter.read()
    counter.write_text("3500000\n")
    assert meter.joules(before, meter.read()) == pytest.approx(2.5)
    counter = plant(tmp_path, "intel-rapl:0", "package-0", RANGE - 500_000)
    meter = opened(tmp_path)
    before = meter.read()
    counter.write_text("250000\n")
    assert meter.joules(before, meter.read()) == pytest.approx(0.75)


def test_processors_are_added_and_their_parts_and_the_board_are_not(tmp_path: Path) -> None:
    counters = [plant(tmp_path, f"intel-rapl:{number}", f"package-{number}", 0) for number in range(2)]
    counters += [plant(tmp_path, "intel-rapl:0:0", "core", 0), plant(tmp_path, "intel-rapl:2", "psys", 0)]
    meter = opened(tmp_path)
    before = meter.read()
    for counter in counters:
        counter.write_text("1000000\n")
    assert meter.joules(before, meter.read()) == pytest.approx(2.0)


def test_without_a_counter_that_can_be_read_and_says_something_there_is_no_meter(tmp_path: Path) -> None:
    assert open_meter(Device.CPU, tmp_path) is None
    counter = plant(tmp_path, "intel-rapl:0", "package-0", 0)
    for content in ("", "unknown\n"):
        counter.write_text(content)
        assert open_meter(Device.CPU, tmp_path) is None, content
    counter.unlink()  # Root may open all that is there.
    assert open_meter(Device.CPU, tmp_path) is None


def test_without_both_readings_the_energy_is_unknown(tmp_path: Path) -> None:
    plant(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = opened(tmp_path)
    assert meter.joules(None, meter.read()) is None
    assert meter.joules(meter.read(), None) is None


class FakeCuda:
    """A driver whose first GPU is on the bus that it says."""

    def __init__(self, bus_id: bytes = b"0000:19:00.0", error: int = 0) -> None:
        self.bus_id = bus_id
        self.error = error

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - the driver's name.
        return 0

    def cuDeviceGet(self, _device: object, ordinal: int) -> int:  # noqa: N802
        assert ordinal == 0
        return 0

    def cuDeviceGetPCIBusId(self, text: ctypes.Array[ctypes.c_char], size: int, _device: object) -> int:  # noqa: N802
        assert len(self.bus_id) < size
        text.value = self.bus_id
        return self.error


class FakeNvml:
    """A driver whose GPU on one bus counts; an exception among the counts is raised."""

    def __init__(self, *millijoules: int | Exception) -> None:
        self.counts = itertools.cycle(millijoules)

    def nvmlInit(self) -> None:  # noqa: N802 - the driver's name.
        pass

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: bytes) -> str:  # noqa: N802
        if bus_id != b"0000:19:00.0":
            raise LookupError(bus_id)
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert handle == "handle"
        count = next(self.counts)
        if isinstance(count, Exception):
            raise count
        return count


def gpu_meter(nvml: Any, cuda: Any = None) -> EnergyMeter | None:
    return open_meter(Device.GPU, nvml=nvml, cuda=cuda or FakeCuda())


def test_a_gpu_counts_millijoules_and_a_counter_that_went_backwards_tells_nothing() -> None:
    meter = gpu_meter(FakeNvml(1, 1_000, 41_000))
    assert meter is not None
    assert meter.joules(meter.read(), meter.read()) == pytest.approx(40.0)
    meter = gpu_meter(FakeNvml(1, 41_000, 1_000))
    assert meter is not None
    assert meter.joules(meter.read(), meter.read()) is None


@pytest.mark.parametrize(
    ("nvml", "cuda"),
    [
        (FakeNvml(RuntimeError("Not Supported")), FakeCuda()),
        (FakeNvml(1), FakeCuda(b"0000:20:00.0")),
        (FakeNvml(1), FakeCuda(error=101)),
        (object(), FakeCuda()),
        (FakeNvml(1), object()),
    ],
    ids=["a GPU that does not count", "a GPU that NVML hides", "CUDA fails", "no NVML", "no CUDA"],
)
def test_a_gpu_that_cannot_be_read_has_no_meter(nvml: object, cuda: object) -> None:
    assert gpu_meter(nvml, cuda) is None
