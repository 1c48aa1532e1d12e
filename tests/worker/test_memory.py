from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from stepbench.records.cases import Device
from stepbench.worker.memory import PeakMemory

pytestmark = pytest.mark.tensorflow

LARGE = 2**28


def test_each_phase_has_a_peak_of_its_own_and_that_of_all_is_kept() -> None:
    memory = PeakMemory(Device.CPU)
    hoard = b"\1" * LARGE
    del hoard
    memory.end_phase("large")
    memory.end_phase("small")
    assert list(memory.phases) == ["large", "small"]
    # The kernel counts each processor's last pages later.
    assert memory.phases["large"] > 0.9 * LARGE > 2 * memory.phases["small"]
    assert memory.peak_rss == memory.baseline_rss + memory.phases["large"]
    assert memory.device_peak is None


def test_on_an_accelerator_phases_are_of_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([700, 300])
    reset: list[str] = []
    planted: dict[str, Any] = {
        "get_memory_info": lambda _: {"current": 1, "peak": next(peaks)},
        "reset_memory_stats": reset.append,
    }
    for name, function in planted.items():
        monkeypatch.setattr(tf.config.experimental, name, function)
    memory = PeakMemory(Device.GPU)
    memory.end_phase("large")
    memory.end_phase("small")
    assert memory.phases == {"large": 700, "small": 300}
    assert memory.device_peak == 700
    assert reset == ["GPU:0"] * 2
