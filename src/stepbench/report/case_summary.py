"""What every report shows of one case, derived from its raw measurements; its JSON is public."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from stepbench.judge import limits as efficiency
from stepbench.judge.breakdown import Category, break_down
from stepbench.judge.statistics import Estimate, step_time
from stepbench.judge.training import Equivalence
from stepbench.records.run import Failure, Measurement, Replicate
from stepbench.records.settings import Setting, suffix
from stepbench.records.store import Run
from stepbench.records.trace import Operation
from stepbench.report.warnings import warnings_of

TOP_OPERATIONS = 20
"""Of a case's trace, in its summary."""


class Status(StrEnum):
    """Whether a case has a number."""

    OK = "ok"
    FAILED = "failed"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a step goes, by its trace, scaled to the step time measured without the profiler."""

    step_s: float
    overhead: float
    """How many times longer a step takes while it is traced."""
    parts: dict[str, float]
    """Seconds in each part of the step; those outside them under ``""``. They add up to the step."""
    categories: dict[Category, float]
    """Seconds in each category of work, longest first. They add up to the step too."""
    operations: tuple[Operation, ...]
    """Those that take longest: part, name, type, calls a step, seconds a step."""


class CaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One case as reports show it. Null where it was not measured."""

    id: str
    workload: str
    execution: str
    precision: str
    device: str
    batch_size: int
    steps_per_call: int
    settings: dict[str, str] = {}
    """Those that are not the default."""
    replicas: int = 1
    strategy: str | None = None
    status: Status
    failure: Failure | None
    step_time_s: Estimate | None
    throughput: Estimate | None
    """Examples a second."""
    speedup: Estimate | None
    """Against the reference; null for want of one."""
    first_call_s: float | None
    compile_s: float | None = None
    """Of the first call: XLA's compilation. The rest traced the step and ran it."""
    break_even_steps: float | None
    """Steps after which the first call has paid back against the reference's; null if it never does."""
    break_even: Estimate | None = None
    """The same with its interval, whose upper bound is null where it may never pay back."""
    break_even_epochs: Estimate | None = None
    break_even_s: Estimate | None = None
    """The same in seconds of training after the first call."""
    epoch_s: Estimate | None = None
    """Of the training set, at the measured step time."""
    peak_memory_bytes: int | None
    """Device memory on an accelerator; on CPU, resident memory above what the process held before the model."""
    memory_by_phase: dict[str, int] = {}
    """Peak bytes in each phase."""
    energy_per_1000_examples_j: Estimate | None = None
    flops_per_step: float | None
    """In convolutions and matrix products of the workload's own step."""
    flops_utilization: float | None
    """Achieved over attainable operations a second, at the precision of the case, on its device, in this run."""
    bytes_per_step: float | None = None
    """Moved if no tensor stayed in a cache."""
    arithmetic_intensity: float | None = None
    """Operations for each of these bytes."""
    roofline_flops: float | None = None
    """Operations a second that the device attains at this intensity."""
    input_wait_share: float | None
    equivalence: Equivalence
    trace: str | None
    """The folder of its profiler trace, from the run's."""
    profile: Profile | None
    warnings: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """The end of its id."""
        return suffix(self.steps_per_call, [Setting(*setting) for setting in self.settings.items()])


def summarize_case(
    run: Run,
    measurement: Measurement,
    reference: Measurement | None,
    equivalence: Equivalence,
    speedup: Estimate | None,
) -> CaseSummary:
    """Derive what is shown of one case; against its reference, if that was measured without a failure."""
    case = measurement.case
    usable = not measurement.failure and any(replicate.blocks for replicate in measurement.replicates)
    untimed = not run.plan.replicates  # Only verified.
    seconds = step_time(measurement) if usable else None
    break_even = efficiency.break_even(measurement, reference) if usable and reference else None
    epoch = efficiency.epoch_time(measurement) if usable else None
    found = efficiency.efficiency_of(measurement, run.attainable) if usable else efficiency.Efficiency()
    return CaseSummary(
        id=case.id,
        workload=case.workload,
        execution=case.variant.execution,
        precision=case.variant.precision,
        device=case.device,
        batch_size=case.batch_size,
        steps_per_call=case.steps_per_call,
        settings={setting.name: setting.value for setting in case.settings},
        status=Status.OK if usable or (untimed and not measurement.failure) else Status.FAILED,
        failure=measurement.failure,
        step_time_s=seconds,
        throughput=seconds.inverse(case.batch_size) if seconds else None,
        speedup=speedup,
        first_call_s=efficiency.first_call(measurement) if usable else None,
        compile_s=efficiency.compilation(measurement) if usable else None,
        break_even_steps=break_even.value if break_even else None,
        break_even=break_even,
        break_even_epochs=break_even.times(seconds.value / epoch.value) if break_even and seconds and epoch else None,
        break_even_s=break_even.times(seconds.value) if break_even and seconds else None,
        epoch_s=epoch,
        peak_memory_bytes=_peak_memory(measurement.replicates) if usable else None,
        memory_by_phase=efficiency.memory_by_phase(measurement.replicates) if usable else {},
        energy_per_1000_examples_j=efficiency.energy(measurement) if usable else None,
        flops_per_step=found.flops_per_step,
        flops_utilization=found.flops_utilization,
        bytes_per_step=found.bytes_per_step,
        arithmetic_intensity=found.arithmetic_intensity,
        roofline_flops=found.roofline_flops,
        input_wait_share=_input_wait(measurement.replicates) if usable else None,
        equivalence=equivalence,
        trace=measurement.trace.path if measurement.trace else None,
        profile=_profile(measurement, seconds),
        warnings=warnings_of(run, measurement, seconds),
    )


def _profile(measurement: Measurement, step_time: Estimate | None) -> Profile | None:
    if measurement.trace is None:
        return None
    breakdown = break_down(measurement.trace, step_time.value if step_time else None)
    scale = breakdown.step_s / measurement.trace.step_s
    return Profile(
        step_s=breakdown.step_s,
        overhead=breakdown.overhead,
        parts=breakdown.by_part(),
        categories=breakdown.by_category(),
        operations=tuple(
            msgspec.structs.replace(operation, seconds=operation.seconds * scale)
            for operation in measurement.trace.operations[:TOP_OPERATIONS]
        ),
    )


def _peak_memory(replicates: Sequence[Replicate]) -> int | None:
    closings = [replicate.closing for replicate in replicates if replicate.closing]
    peaks = [
        max(0, closing.peak_rss_bytes - closing.baseline_rss_bytes)
        if closing.device_peak_bytes is None
        else closing.device_peak_bytes
        for closing in closings
    ]
    return max(peaks, default=None)


def _input_wait(replicates: Sequence[Replicate]) -> float | None:
    waits = [replicate.closing.input_wait for replicate in replicates if replicate.closing]
    shares = [wait.wait_s / wait.seconds for wait in waits if wait]
    return statistics.median(shares) if shares else None
