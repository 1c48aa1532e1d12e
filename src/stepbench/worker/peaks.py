"""Inside a worker: how fast a device computes and moves data at most, as TensorFlow's own kernels attain it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from stepbench.records.cases import Device
from stepbench.records.run import Attainable

ROUNDS = 8
ROUND_S = 0.1
SMALLEST_SIDE = 256
LARGEST_SIDE = {Device.CPU: 4096, Device.GPU: 8192}
"""Of the matrices: a GPU that does 1000 TFLOP/s needs a millisecond for the larger."""
LARGEST_ARRAY_BYTES = 2**28
"""Eight times the caches of most machines: STREAM asks for four (McCalpin, IEEE TCCA Newsletter, December 1995)."""
PASSES = 3
"""Of an addition in place: over what is read, what is added to it, and what is written."""


@dataclass(frozen=True)
class Probe:
    """Something that a device is kept busy with."""

    call: Callable[[], object]
    amount: float
    """Floating-point operations or bytes of a call."""


def measure_attainable(device: Device, dtypes: tuple[str, ...], memory_bytes: int) -> Attainable:
    """Measure the device that this process uses.

    Args:
        device: its kind.
        dtypes: those whose matrix products are timed.
        memory_bytes: how much memory the bandwidth may be measured with.
    """
    on_gpu = device is Device.GPU
    products = [product_probe(dtype, LARGEST_SIDE[device]) for dtype in dtypes]
    *flops, bandwidth = best_rates([*products, memory_probe(memory_bytes)])
    return Attainable(
        device=device,
        flops=dict(zip(dtypes, flops, strict=True)),
        bandwidth=bandwidth,
        name=_name() if on_gpu else None,
        tensor_float_32=tf.config.experimental.tensor_float_32_execution_enabled() if on_gpu else None,
    )


def product_probe(dtype: str, largest_side: int) -> Probe:
    """A square matrix product, as large as takes no longer than a round."""
    side = SMALLEST_SIDE
    product = _product(dtype, side)
    while side < largest_side and 8 * _seconds(product, calls=1) <= ROUND_S:
        side *= 2
        product = _product(dtype, side)
    return Probe(product, 2.0 * side**3)


def memory_probe(memory_bytes: int) -> Probe:
    """An addition in place, of arrays too large for caches where ``memory_bytes`` allow it."""
    elements = min(LARGEST_ARRAY_BYTES, memory_bytes // 2) // tf.float32.size
    variable, addend = tf.Variable(tf.zeros(elements)), tf.ones(elements)

    def add() -> None:
        variable.assign_add(addend, read_value=False)

    add()  # The first one finds the variable's buffer shared, and copies it.
    return Probe(add, float(PASSES * elements * tf.float32.size))


def best_rates(probes: Sequence[Probe]) -> list[float]:
    """The amount a second of each probe in the best of its rounds, which are long enough to be sustained.

    The probes take turns, so that a disturbance of a second spoils none of them.
    """
    calls = [max(1, round(ROUND_S / _seconds(probe.call, calls=1))) for probe in probes]
    rates = [0.0] * len(probes)
    for _ in range(ROUNDS):
        for number, probe in enumerate(probes):
            seconds = _seconds(probe.call, calls[number])
            rates[number] = max(rates[number], calls[number] * probe.amount / seconds)
    return rates


def _product(dtype: str, side: int) -> Callable[[], object]:
    """A product that is warm. The factors are not constant: on some GPUs those take less power, and so less time."""
    factors = [tf.cast(tf.random.stateless_normal((side, side), seed=(0, number)), dtype) for number in range(2)]

    def product() -> tf.Tensor:
        return tf.linalg.matmul(*factors)

    _seconds(product, calls=1)
    return product


def _seconds(call: Callable[[], object], calls: int) -> float:
    tf.test.experimental.sync_devices()
    started = time.perf_counter()
    for _ in range(calls):
        call()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - started


def _name() -> str | None:
    (gpu, *_) = tf.config.get_visible_devices("GPU")
    name: str | None = tf.config.experimental.get_device_details(gpu).get("device_name")
    return name
