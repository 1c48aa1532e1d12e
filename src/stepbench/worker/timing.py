"""Inside a worker: a case made ready, and its blocks timed."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from stepbench.probes.energy import open_meter
from stepbench.probes.noise import noise_between, read_noise
from stepbench.records.cases import Case
from stepbench.records.run import Block, Closing, Evidence, InputWait, Phases
from stepbench.training.devices import device_kind
from stepbench.training.executions import Call, build_call, execution_named
from stepbench.training.feed import batch_size_of, stacked
from stepbench.training.fit_data import Batch
from stepbench.training.state import TrainState
from stepbench.training.step import loss_of
from stepbench.training.task import Task
from stepbench.worker.evidence import TraceCounter, observe_step, read_xla_compilations
from stepbench.worker.memory import PeakMemory
from stepbench.worker.settings import observed_settings

WARM_UP_CALLS = 3
LONG_CALLS, LONG_CALL_S = 2, 1.0
"""Two calls that take so long are enough: one may trace, or be held up."""
MIN_RING_CALLS = 2
RING_BATCHES = 8
MOST_NAMED = 10
"""Products that run in another dtype than claimed."""
SETTLED_CALLS = 3
"""More calls than these are preceded by one that refills the caches, cold after a stop; few do so in passing."""
WORKER_LOG = Path("/proc/self/fd/2")


def ring_batches(case: Case) -> int:
    """How many distinct batches a case cycles through: whole calls, at least two of them."""
    return case.steps_per_call * max(MIN_RING_CALLS, -(-RING_BATCHES // case.steps_per_call))


class WarmCase:
    """A case in its steady state."""

    def __init__(self, case: Case, task: Task, seed: int, slowdown: float = 0.0) -> None:
        """Build the case and warm it up, noting the time of each phase.

        Args:
            case: what is measured.
            task: the workload of the case with its data.
            seed: of the initial weights.
            slowdown: planted, as a share of each call's time.

        Raises:
            StepbenchError: when the data holds less than one batch or the workload is wrong.
        """
        self.case = case
        self.task = task
        self.traces = TraceCounter()
        self._energy = open_meter(case.device)
        self.memory = PeakMemory(case.device)
        started = time.perf_counter()
        self.state = task.build(case.variant.precision, seed, case.batch_size)
        call = build_call(self.state, case)
        self.call = slowed(call, slowdown) if slowdown else call
        self.build_s = time.perf_counter() - started
        self.ring = make_ring(case, task)
        self.restore = make_restore(self.state)
        # One that begins with an infinity, as the best figure so far, may keep it.
        self._finite = [variable for variable in self.state.variables if is_finite(variable)]
        self.memory.end_phase("build")
        self.traces.count = 0
        self.first_call_s, first = _timed(lambda: self.call(self.ring[0]))
        self.first_traces = self.traces.count
        self.memory.end_phase("first call")
        self.compilations = read_xla_compilations(WORKER_LOG)
        started = time.perf_counter()
        for batch in self._other_shapes():
            self.call(batch)
        self.call_s = warm_up(lambda: self.call(self.ring[-1]))
        self.evidence = self._gather_evidence(first)
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
            self.call(self.ring[-1])
        # Before the restoring: what reading files leaves in the caches is not the step's.
        noise_before, energy_before = read_noise(), self._read_energy()
        self.restore()
        tf.test.experimental.sync_devices()
        started = time.perf_counter()
        result = run_calls(self.call, self.ring, calls)
        tf.test.experimental.sync_devices()
        seconds = time.perf_counter() - started
        energy = self._energy.joules(energy_before, self._read_energy()) if self._energy else None
        noise = noise_between(noise_before, read_noise())
        return Block(round_number, calls * self.case.steps_per_call, seconds, finite(result), noise, energy_j=energy)

    def close(self, block_seconds: float, *, input_pipeline: bool) -> Closing:
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
            input_wait=self._time_input(block_seconds) if input_pipeline else None,
            peaks_bytes=self.memory.phases,
            finite_variables=all(map(is_finite, self._finite)),
        )

    def _read_energy(self) -> tuple[int, ...] | None:
        return self._energy.read() if self._energy else None

    def _gather_evidence(self, result: Any) -> Evidence:
        loss = loss_of(result)
        observed = observe_step(lambda: self.call(self.ring[0]))
        variables = [variable for variable in self.state.variables if variable.trainable]
        devices = {device_kind(variable.device) for variable in variables} | {device_kind(loss.device)}
        return Evidence(
            claims=execution_named(self.case.variant.execution).claims,
            traces=self.first_traces,
            function_calls=observed.function_calls,
            xla_compilations=self.compilations.count,
            compute_ops={where: dict(counts) for where, counts in observed.products.items()},
            variable_dtypes=tuple(sorted({variable.dtype.name for variable in variables})),
            devices=tuple(sorted(devices)),
            batch_size=batch_size_of(self.ring[0], axis=1 if self.case.steps_per_call > 1 else 0),
            loss=finite(result),
            eager_updates=observed.eager_updates,
            compiles_itself=compiles_itself(self.state),
            output_dtypes=output_dtypes(self.state),
            other_products=self._other_products(observed.names),
            settings=observed_settings(self.case.settings, read_xla_compilations(WORKER_LOG).count),
        )

    def _other_products(self, names: Mapping[str, set[str]]) -> tuple[str, ...]:
        wanted = self.case.variant.precision.compute_dtype
        return tuple(sorted(set().union(*(found for dtype, found in names.items() if dtype != wanted))))[:MOST_NAMED]

    def _other_shapes(self) -> list[Batch]:
        """The batches of the ring, if they differ in shape: each may have to be compiled."""
        shapes = {str(tf.nest.map_structure(lambda part: part.shape, batch)) for batch in self.ring}
        return self.ring if len(shapes) > 1 else []

    def _time_input(self, block_seconds: float) -> InputWait:
        calls = self.calls_in(block_seconds)
        self.restore()
        case = self.case
        seconds, waited = self.task.feed.time_input(case.batch_size, case.steps_per_call, self.call, calls)
        return InputWait(calls * case.steps_per_call, seconds, waited)


def warm_up(call: Callable[[], Any]) -> float:
    """Call until it is warm; the seconds of the quickest call."""
    seconds: list[float] = []
    while len(seconds) < WARM_UP_CALLS and sum(one > LONG_CALL_S for one in seconds) < LONG_CALLS:
        seconds.append(_timed(call)[0])
    return min(seconds)


def slowed(call: Call, share: float) -> Call:
    """The call, after which the processor is kept busy for a share of the time that the call took.

    A call must have done its work when it returns, as it has on a CPU.
    """

    def longer(batch: Batch) -> Any:
        started = time.perf_counter()
        result = call(batch)
        now = time.perf_counter()
        ends = now + share * (now - started)
        while time.perf_counter() < ends:
            pass
        return result

    return longer


def run_calls(call: Call, ring: list[Batch], calls: int) -> Any:
    """The timed region: nothing but calls on batches that are on the device already."""
    size = len(ring)
    for index in range(calls):
        result = call(ring[index % size])
    return result


def finite(result: Any) -> float | None:
    """The loss in what a step gives, None when it is NaN or infinite (which JSON cannot say)."""
    value = float(tf.reduce_mean(loss_of(result)))
    return value if math.isfinite(value) else None


def compiles_itself(state: TrainState) -> bool:
    """Whether the user's own step is a compiled function already, so that no execution can run it eagerly."""
    return isinstance(state.step, tf.types.experimental.PolymorphicFunction)


def output_dtypes(state: TrainState) -> tuple[str, ...]:
    """Distinct dtypes of a functional model's outputs."""
    outputs = tf.nest.flatten(getattr(state.keras_model, "outputs", None) or ())
    return tuple(sorted({str(tensor.dtype) for tensor in outputs}))


def make_ring(case: Case, task: Task) -> list[Batch]:
    """Distinct batches on the device, shaped as the case's call takes them.

    Raises:
        StepbenchError: when the training set holds less than one batch.
    """
    taken = task.feed.take(ring_batches(case), case.batch_size)
    per_call = case.steps_per_call
    calls = [stacked(taken[start : start + per_call]) for start in range(0, len(taken), per_call)]
    # identity moves tensors to the accelerator, where there is one, once and for all.
    return [tf.nest.map_structure(tf.identity, call, expand_composites=True) for call in calls]


def make_restore(state: TrainState) -> Callable[[], None]:
    """A function that puts every variable back to its value of now."""
    variables = state.variables
    saved = [tf.identity(variable) for variable in variables]

    def assign_saved() -> None:
        for variable, value in zip(variables, saved, strict=True):
            # A copy of its own: sharing the saved buffer would have the first timed update pay for one.
            variable.assign(tf.raw_ops.DeepCopy(x=value))

    restore: Callable[[], None] = tf.function(assign_saved, autograph=False)
    restore()
    return restore


def is_finite(variable: tf.Variable) -> bool:
    """Whether it holds no NaN and no infinity."""
    return not variable.dtype.is_floating or bool(tf.reduce_all(tf.math.is_finite(variable)))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - started, result
