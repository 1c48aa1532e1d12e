"""Inside a worker: a case made ready, and its blocks timed."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.probes.energy import open_meter
from stepbench.probes.noise import noise_between, read_noise
from stepbench.records.cases import Case
from stepbench.records.run import Block, Closing, Evidence, InputWait, Phases
from stepbench.training.devices import device_kind
from stepbench.training.step import TrainState, build_state
from stepbench.training.variants import build_call, execution_named
from stepbench.training.workload import Dataset, Workload
from stepbench.worker.memory import PeakMemory
from stepbench.worker.observe import TraceCounter, observe_step, read_xla_compilations

WARM_UP_CALLS = 3
MIN_RING_CALLS = 2
RING_BATCHES = 8
SETTLED_CALLS = 3
"""More calls than these are preceded by one that refills the caches, cold after a stop; few do so in passing."""
WORKER_LOG = Path("/proc/self/fd/2")

Batch = tuple[tf.Tensor, tf.Tensor]


def ring_batches(case: Case) -> int:
    """How many distinct batches a case cycles through: whole calls, at least two of them."""
    return case.steps_per_call * max(MIN_RING_CALLS, -(-RING_BATCHES // case.steps_per_call))


class WarmCase:
    """A case in its steady state."""

    def __init__(self, case: Case, workload: Workload, dataset: Dataset, seed: int, slowdown: float = 0.0) -> None:
        """Build the case and warm it up, noting the time of each phase.

        Args:
            case: what is measured.
            workload: of the case.
            dataset: of the workload.
            seed: of the initial weights.
            slowdown: planted, as a share of each call's time.

        Raises:
            StepbenchError: when the data holds less than one batch or the model is of the wrong kind.
        """
        self.case = case
        self.traces = TraceCounter()
        self._energy = open_meter(case.device)
        self.memory = PeakMemory(case.device)
        started = time.perf_counter()
        self.state = build_state(workload, case.variant.precision, seed)
        call = build_call(self.state, case)
        self.call = slowed(call, slowdown) if slowdown else call
        self.build_s = time.perf_counter() - started
        self.ring = make_ring(case, dataset)
        self.restore = make_restore(self.state)
        self.memory.end_phase("build")
        self.traces.count = 0
        self.first_call_s, first_loss = _timed(lambda: self.call(*self.ring[0]))
        self.first_traces = self.traces.count
        self.memory.end_phase("first call")
        self.compilations = read_xla_compilations(WORKER_LOG)
        started = time.perf_counter()
        call_times = [_timed(lambda: self.call(*self.ring[-1]))[0] for _ in range(WARM_UP_CALLS)]
        self.call_s = min(call_times)
        self.evidence = self._gather_evidence(first_loss)
        self.warm_up_s = time.perf_counter() - started
        self.traces.count = 0
        self._warm_compilations = read_xla_compilations(WORKER_LOG).count
        # What TensorFlow and the case hold lives to the end; going through it takes 0.2 s, now and then, in a block.
        gc.collect()
        gc.freeze()

    def phases(self, import_s: float, data_s: float) -> Phases:
        """The times of all phases so far, in seconds."""
        compile_s = self.compilations.seconds
        return Phases(import_s, data_s, self.build_s, self.first_call_s, compile_s, self.warm_up_s)

    def calls_in(self, seconds: float) -> int:
        """How many calls take about so long; at least one."""
        return max(1, round(seconds / self.call_s))

    def time_block(self, round_number: int, calls: int) -> Block:
        """Time so many calls, from the initial state."""
        if calls > SETTLED_CALLS:
            self.call(*self.ring[-1])
        # Before the restoring: what reading files leaves in the caches is not the step's.
        noise_before, energy_before = read_noise(), self._read_energy()
        self.restore()
        tf.test.experimental.sync_devices()
        started = time.perf_counter()
        loss = run_calls(self.call, self.ring, calls)
        tf.test.experimental.sync_devices()
        seconds = time.perf_counter() - started
        energy = self._energy.joules(energy_before, self._read_energy()) if self._energy else None
        noise = noise_between(noise_before, read_noise())
        return Block(round_number, calls * self.case.steps_per_call, seconds, finite(loss), noise, energy_j=energy)

    def close(self, dataset: Dataset, block_seconds: float, *, input_pipeline: bool) -> Closing:
        """Read the counters, and time one block fed by ``tf.data`` if asked."""
        traces = self.traces.count
        compilations = read_xla_compilations(WORKER_LOG).count - self._warm_compilations
        self.memory.end_phase("steps")
        return Closing(
            traces=traces,
            xla_compilations=compilations,
            baseline_rss_bytes=self.memory.baseline_rss,
            peak_rss_bytes=self.memory.peak_rss,
            device_peak_bytes=self.memory.device_peak,
            input_wait=self._time_input(dataset, block_seconds) if input_pipeline else None,
            peaks_bytes=self.memory.phases,
        )

    def _read_energy(self) -> tuple[int, ...] | None:
        return self._energy.read() if self._energy else None

    def _gather_evidence(self, loss: tf.Tensor) -> Evidence:
        observed = observe_step(lambda: self.call(*self.ring[0]))
        variables = self.state.model.trainable_variables
        devices = {device_kind(variable.value.device) for variable in variables} | {device_kind(loss.device)}
        return Evidence(
            claims=execution_named(self.case.variant.execution).claims,
            traces=self.first_traces,
            function_calls=observed.function_calls,
            xla_compilations=self.compilations.count,
            compute_ops={where: dict(counts) for where, counts in observed.products.items()},
            variable_dtypes=tuple(sorted({variable.dtype for variable in variables})),
            devices=tuple(sorted(devices)),
            batch_size=int(self.ring[0][0].shape[1 if self.case.steps_per_call > 1 else 0]),
            loss=finite(loss),
        )

    def _time_input(self, dataset: Dataset, block_seconds: float) -> InputWait:
        batches = iter(input_pipeline_of(self.case, dataset))
        self.call(*next(batches))
        calls = self.calls_in(block_seconds)
        self.restore()
        waited = 0.0
        started = time.perf_counter()
        for _ in range(calls):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            self.call(*batch)
        tf.test.experimental.sync_devices()
        return InputWait(calls * self.case.steps_per_call, time.perf_counter() - started, waited)


def slowed(call: Callable[..., tf.Tensor], share: float) -> Callable[..., tf.Tensor]:
    """The call, after which the processor is kept busy for a share of the time that the call took.

    A call must have done its work when it returns, as it has on a CPU.
    """

    def longer(*batch: tf.Tensor) -> tf.Tensor:
        started = time.perf_counter()
        result = call(*batch)
        now = time.perf_counter()
        ends = now + share * (now - started)
        while time.perf_counter() < ends:
            pass
        return result

    return longer


def run_calls(call: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], ring: list[Batch], calls: int) -> tf.Tensor:
    """The timed region: nothing but calls on batches that are on the device already."""
    size = len(ring)
    for index in range(calls):
        loss = call(*ring[index % size])
    return loss


def finite(loss: tf.Tensor) -> float | None:
    """A scalar tensor's value, None when it is NaN or infinite (which JSON cannot say)."""
    value = float(loss)
    return value if math.isfinite(value) else None


def make_ring(case: Case, dataset: Dataset) -> list[Batch]:
    """Distinct batches on the device, shaped as the case's call takes them.

    Raises:
        StepbenchError: when the training set holds less than one batch.
    """
    available = len(dataset.x_train)
    if available < case.batch_size:
        raise StepbenchError(
            f"The training set has {available} examples: choose a batch size of at most that, not {case.batch_size}."
        )
    stacked = (case.steps_per_call, case.batch_size) if case.steps_per_call > 1 else (case.batch_size,)
    per_call = case.steps_per_call * case.batch_size
    ring = []
    for start in range(0, ring_batches(case) * case.batch_size, per_call):
        # A small set goes round again.
        rows = np.arange(start, start + per_call) % available
        ring.append(tuple(_placed(part[rows], stacked) for part in (dataset.x_train, dataset.y_train)))
    return ring


def _placed(part: Any, leading: tuple[int, ...]) -> tf.Tensor:
    # identity moves the tensor to the accelerator, where there is one, once and for all.
    return tf.identity(tf.constant(part.reshape(*leading, *part.shape[1:])))


def make_restore(state: TrainState) -> Callable[[], None]:
    """A function that puts every variable back to its value of now."""
    variables = [variable.value for variable in state.variables]
    saved = [tf.identity(variable) for variable in variables]

    def assign_saved() -> None:
        for variable, value in zip(variables, saved, strict=True):
            # A copy of its own: sharing the saved buffer would have the first timed update pay for one.
            variable.assign(tf.raw_ops.DeepCopy(x=value))

    restore: Callable[[], None] = tf.function(assign_saved, autograph=False)
    restore()
    return restore


def input_pipeline_of(case: Case, dataset: Dataset) -> tf.data.Dataset:
    """The usual pipeline over the training set: shuffle, batch, prefetch."""
    examples = tf.data.Dataset.from_tensor_slices((dataset.x_train, dataset.y_train))
    batches = examples.shuffle(min(len(dataset.x_train), 10_000)).repeat().batch(case.batch_size, drop_remainder=True)
    if case.steps_per_call > 1:
        batches = batches.batch(case.steps_per_call, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _timed(call: Callable[[], tf.Tensor]) -> tuple[float, tf.Tensor]:
    started = time.perf_counter()
    result = call()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - started, result
