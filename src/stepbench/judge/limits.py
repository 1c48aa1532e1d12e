"""How close a case comes to what its device attains, and when its first call has paid back."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

from stepbench.judge.statistics import (
    CONFIDENCE,
    FEWEST_DEGREES,
    Estimate,
    from_logs,
    mean_interval,
    replicate_log,
    step_time,
)
from stepbench.records.run import Attainable, Measurement, Replicate

JOINT_CONFIDENCE = 1 - (1 - CONFIDENCE) / 2
"""Of two intervals that shall hold together with ``CONFIDENCE`` (Bonferroni)."""
ENERGY_EXAMPLES = 1000


class Efficiency(msgspec.Struct, frozen=True, kw_only=True):
    """What a case has to compute, and how close it comes to what its device attains; null where that is not known."""

    flops_per_step: float | None = None
    bytes_per_step: float | None = None
    arithmetic_intensity: float | None = None
    """Operations for each byte moved, if no tensor stayed in a cache."""
    flops_utilization: float | None = None
    """Achieved over attainable operations a second, at the precision of the case.

    The operations are those of the workload's own step, whatever the variant really computes (model-FLOP
    utilization: Chowdhery et al., PaLM, arXiv:2204.02311, section 4.1), so that computing more is no merit.
    """
    roofline_flops: float | None = None
    """Operations a second that the device attains at this intensity.

    The lower of its peak and of what its memory feeds (Williams, Waterman and Patterson, Communications of the ACM
    52(4), 2009). A case may exceed it, as far as tensors stay in caches or are never written.
    """


def efficiency_of(measurement: Measurement, attainable: Sequence[Attainable]) -> Efficiency:
    """Hold a measured case against what its device attained in the same run."""
    work, seconds, case = measurement.work, step_time(measurement), measurement.case
    if work is None or seconds is None:
        return Efficiency()
    device = next((found for found in attainable if found.device is case.device), None)
    peak = device.flops.get(case.variant.precision.compute_dtype) if device else None
    intensity = work.flops / work.bytes if work.bytes else None
    return Efficiency(
        flops_per_step=work.flops,
        bytes_per_step=work.bytes,
        arithmetic_intensity=intensity,
        flops_utilization=work.flops / seconds.value / peak if peak else None,
        roofline_flops=min(peak, intensity * device.bandwidth) if device and peak and intensity else None,
    )


def epoch_time(measurement: Measurement) -> Estimate | None:
    """Seconds that the steps of a pass over all training examples take, without waiting for input."""
    work, seconds = measurement.work, step_time(measurement)
    if work is None or seconds is None or not work.examples:  # A pipeline need not know how long it is.
        return None
    return seconds.times(work.examples / measurement.case.batch_size)


def first_call(measurement: Measurement) -> float:
    """Seconds of the first call whole: the median of the replicates."""
    return statistics.median(replicate.phases.first_call_s for replicate in measurement.replicates)


def compilation(measurement: Measurement) -> float:
    """Seconds of the first call in which XLA compiled: the median of the replicates."""
    return statistics.median(replicate.phases.compile_s for replicate in measurement.replicates)


def break_even(measurement: Measurement, reference: Measurement) -> Estimate | None:
    """Steps after which the first call has paid back against the reference's; None if it never does.

    What the first call costs over what a step saves, both as means of the differences to the reference's replicate of
    the same number. The bounds combine the worst and the best of both, each at ``JOINT_CONFIDENCE``: they hold at least
    with ``CONFIDENCE``. Without an upper bound it may never pay back; without either there are too few replicates.
    """
    pairs = _pairs(measurement, reference)
    if measurement is reference or not pairs:
        return None
    costs = [mine.phases.first_call_s - other.phases.first_call_s for mine, other in pairs]
    savings = [math.exp(replicate_log(other)) - math.exp(replicate_log(mine)) for mine, other in pairs]
    cost, least_cost, most_cost = mean_interval(costs, JOINT_CONFIDENCE)
    saved, least_saved, most_saved = mean_interval(savings, JOINT_CONFIDENCE)
    if saved <= 0:
        return None
    value = max(0.0, cost) / saved
    few = len(pairs) <= FEWEST_DEGREES
    if few or least_cost is None or most_cost is None or least_saved is None or most_saved is None:
        return Estimate(value, None, None)
    high = max(0.0, most_cost) / least_saved if least_saved > 0 else None
    return Estimate(value, max(0.0, least_cost) / most_saved, high)


def _pairs(measurement: Measurement, reference: Measurement) -> list[tuple[Replicate, Replicate]]:
    """Replicates that ran interleaved."""
    others = {replicate.number: replicate for replicate in reference.replicates if replicate.blocks}
    mine = [replicate for replicate in measurement.replicates if replicate.blocks]
    return [(replicate, others[replicate.number]) for replicate in mine if replicate.number in others]


def energy(measurement: Measurement) -> Estimate | None:
    """Joules for ``ENERGY_EXAMPLES`` examples: of each replicate the sum over its blocks; None where none was read."""
    logs = []
    for replicate in measurement.replicates:
        blocks = [block for block in replicate.blocks if block.energy_j is not None]
        joules = sum(block.energy_j or 0.0 for block in blocks)
        examples = sum(block.steps for block in blocks) * measurement.case.batch_size
        if joules > 0:
            logs.append(math.log(joules * ENERGY_EXAMPLES / examples))
    return from_logs(logs)


def memory_by_phase(replicates: Sequence[Replicate]) -> dict[str, int]:
    """The largest peak of each phase, in their order."""
    peaks: dict[str, int] = {}
    for replicate in replicates:
        for phase, size in replicate.closing.peaks_bytes.items() if replicate.closing else ():
            peaks[phase] = max(size, peaks.get(phase, 0))
    return peaks
