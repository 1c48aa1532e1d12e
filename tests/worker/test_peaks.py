from __future__ import annotations

from collections.abc import Callable

import pytest
import tensorflow as tf

from stepbench.records.cases import Device
from stepbench.worker import peaks
from stepbench.worker.peaks import measure_attainable

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[int]]:
    """Plants a machine that computes at a given rate; the sides of the matrices that it was given are listed."""

    def plant(flops: float) -> list[int]:
        sides: list[int] = []

        def product(_: str, side: int) -> Callable[[], object]:
            sides.append(side)
            return lambda: side

        monkeypatch.setattr(peaks, "_product", product)
        monkeypatch.setattr(peaks, "_seconds", lambda _, calls: calls * 2 * sides[-1] ** 3 / flops)
        return sides

    return plant


@pytest.mark.parametrize(("flops", "side"), [(1e8, 256), (1e9, 256), (4e11, 2048), (4e12, 4096), (1e15, 4096)])
def test_matrices_grow_until_a_product_fills_a_round(
    rate: Callable[[float], list[int]], flops: float, side: int
) -> None:
    sides = rate(flops)
    probe = peaks.product_probe("float32", 4096)
    assert probe.amount == 2 * side**3
    assert sides[-1] == side
    assert side == 256 or 2 * side**3 / flops <= peaks.ROUND_S


def test_the_best_round_counts_also_when_a_disturbance_lasts_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_from, slow_to, now = 0.3, 1.4, 0.0

    def seconds(call: Callable[[], float], calls: int) -> float:
        nonlocal now
        took = calls * call() * (3 if slow_from <= now < slow_to else 1)
        now += took
        return took

    monkeypatch.setattr(peaks, "_seconds", seconds)
    probes = [peaks.Probe(lambda: 0.01, 5.0), peaks.Probe(lambda: 0.2, 8.0)]
    assert peaks.best_rates(probes) == pytest.approx([500.0, 40.0])


def test_this_machine_attains_something_in_every_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "ROUND_S", 0.01)
    found = measure_attainable(Device.CPU, ("float32", "bfloat16", "float16"), memory_bytes=2**26)
    assert set(found.flops) == {"float32", "bfloat16", "float16"}
    assert all(rate > 0 for rate in found.flops.values())
    # A product uses each number many times: else there were no use in computing from caches.
    assert found.flops["float32"] > found.bandwidth / tf.float32.size
    assert (found.name, found.tensor_float_32) == (None, None)
