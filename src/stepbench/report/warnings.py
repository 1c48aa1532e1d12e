"""What a reader should know before believing a case's numbers."""

from __future__ import annotations

import statistics

from stepbench.judge.doctor_host import NATIVE_FEATURES
from stepbench.judge.proof import partly_other_dtypes
from stepbench.judge.statistics import FEWEST_DEGREES, Estimate
from stepbench.records.cases import EAGER, Case, Device
from stepbench.records.machine import Cpu
from stepbench.records.run import Block, Measurement
from stepbench.records.store import Run

WORTH_SAYING = 0.02
"""A share of lost processor time that shows in a result."""
WIDE_INTERVAL = 0.10
NAMED = 3
"""Products, where some run in another dtype."""


def warnings_of(run: Run, measurement: Measurement, step_time: Estimate | None) -> tuple[str, ...]:
    """Sentences without a full stop, most important first."""
    case = measurement.case
    if measurement.failure or step_time is None:
        lost = None if measurement.failure else _no_trace(measurement)
        return (lost,) if lost else ()
    blocks = [block for replicate in measurement.replicates for block in replicate.blocks]
    found = (
        emulation(case, run.environment.cpu),
        _half_outputs(measurement),
        _compiles_itself(measurement),
        _other_dtypes(measurement),
        _few_replicates(run, measurement),
        _wide_interval(step_time),
        _steal(blocks),
        _leaks(blocks),
        _no_trace(measurement),
        _no_work(measurement),
    )
    return tuple(warning for warning in found if warning)


def emulation(case: Case, cpu: Cpu) -> str | None:
    """That a CPU cannot compute in a case's half precision by itself, if so."""
    wanted = NATIVE_FEATURES.get(case.variant.precision)
    if case.device is not Device.CPU or wanted is None or not cpu.features or wanted & set(cpu.features):
        return None
    return f"{case.variant.precision.compute_dtype} is emulated on this CPU"


def _half_outputs(measurement: Measurement) -> str | None:
    halves = [dtype for dtype in measurement.replicates[0].evidence.output_dtypes if dtype in ("float16", "bfloat16")]
    if not halves:
        return None
    return f"the model's outputs are in {halves[0]}, so its loss has few digits: end it with a layer of dtype='float32'"


def _compiles_itself(measurement: Measurement) -> str | None:
    if measurement.case.variant.execution != EAGER or not measurement.replicates[0].evidence.compiles_itself:
        return None
    return "the model's own train_step is a tf.function, so it cannot be run eagerly"


def _other_dtypes(measurement: Measurement) -> str | None:
    evidence = measurement.replicates[0].evidence
    other = partly_other_dtypes(measurement.case, evidence)
    if not other:
        return None
    parts = ", ".join(f"{count} in {dtype}" for dtype, count in sorted(other.items()))
    names = ", ".join(evidence.other_products[:NAMED]) + (" …" if len(evidence.other_products) > NAMED else "")
    return (
        f"not all products run in {measurement.case.variant.precision.compute_dtype}: {parts}{names and f' ({names})'}"
    )


def _few_replicates(run: Run, measurement: Measurement) -> str | None:
    done, planned = sum(bool(replicate.blocks) for replicate in measurement.replicates), run.plan.replicates
    if 0 < done <= FEWEST_DEGREES:
        return (
            "one replicate gives no interval" if done == 1 else f"{done} replicates give no interval of the step time"
        )
    return f"only {done} of {planned} replicates" if done < planned else None


def _wide_interval(estimate: Estimate) -> str | None:
    width = estimate.relative_half_width
    if width is None or width <= WIDE_INTERVAL:
        return None
    return f"the step time is known to ±{width:.0%} only: the machine was noisy, or add --replicates"


def _steal(blocks: list[Block]) -> str | None:
    shares = [block.noise.steal_share for block in blocks if block.noise.steal_share is not None]
    mean = statistics.fmean(shares) if shares else 0.0
    return f"the hypervisor took {mean:.0%} of the processors' time" if mean > WORTH_SAYING else None


def _no_trace(measurement: Measurement) -> str | None:
    failure = measurement.trace_failure
    return f"no trace: {failure.kind}: {failure.message}" if failure else None


def _no_work(measurement: Measurement) -> str | None:
    if measurement.work and measurement.work.uncounted:
        return f"its operations are counted without {', '.join(measurement.work.uncounted)}"
    failure = measurement.work_failure
    return f"its work could not be counted: {failure.kind}: {failure.message.rstrip('.')}" if failure else None


def _leaks(blocks: list[Block]) -> str | None:
    leaked = sum(block.leaked_cpu_s for block in blocks)
    if leaked <= WORTH_SAYING * sum(block.seconds for block in blocks):
        return None
    return f"stopped workers used {leaked:.1f} s of processor time meanwhile"
