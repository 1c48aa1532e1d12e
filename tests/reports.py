"""Runs and summaries for the page's tests, with all that a page can show."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from builders import ENVIRONMENT, MEBIBYTE, make_case, make_measurement, make_operation, make_run, make_trace

from stepbench.judge.statistics import Estimate
from stepbench.records.cases import EAGER, GRAPH, XLA, Case, Device
from stepbench.records.machine import Repository
from stepbench.records.run import Attainable, Measurement
from stepbench.records.store import Run
from stepbench.records.verify import Agreement, Curve, Point, TensorError, Test
from stepbench.report.case_summary import CaseSummary
from stepbench.report.recommend import Recommendation
from stepbench.report.summary import Summary, summarize

ATTAINABLE = Attainable(Device.CPU, {"float32": 2e11, "bfloat16": 8e11}, 4e10)
LOCK = "0123456789abcdef" * 4 + "  requirements.lock"
SIZES = (64, 128, 256)


def make_agreement(step_s: float = 0.01) -> Agreement:
    """Of a step that differs by rounding only."""
    fine = TensorError("loss", 1e-7, 0.0, 1e-6)
    tensors = (msgspec.structs.replace(fine, name="kernel"),)
    points = tuple(Point(step, fine, tensors, tensors, (), (), 0, "") for step in (0, 1, 3, 10))
    return Agreement("float64", None, gradients_seen=True, step_s=step_s, points=points)


def make_curves(end: float = 1.5, seeds: int = 4, steps: int = 30) -> tuple[Curve, ...]:
    """Trainings that fall from 2.3 to about ``end``."""
    falls = [tuple(end + (2.3 - end) / (1 + step) + 0.01 * seed for step in range(steps)) for seed in range(seeds)]
    return tuple(Curve(seed, losses, (Test(steps, end, 0.5 + 0.001 * seed),)) for seed, losses in enumerate(falls))


def make_full(case: Case, step_s: float, *, trained: bool = False) -> Measurement:
    """A case that was timed in three processes, traced and verified."""
    blocks = [[10 * step_s * factor * drift for drift in (1.0, 1.01, 0.99)] for factor in (1.0, 1.002, 0.998)]
    operations = (
        make_operation("Conv2D", 0.6 * step_s, "forward"),
        make_operation("MatMul", 0.1 * step_s, "backward"),
        make_operation("(host)", 0.3 * step_s, calls=0.0),
    )
    return msgspec.structs.replace(
        make_measurement(case, *blocks),
        trace=make_trace(case, *operations),
        agreement=make_agreement(step_s * case.steps_per_call),
        curves=make_curves() if trained else (),
    )


def full_run(sizes: Sequence[int] = SIZES) -> Run:
    """Eager, graph and XLA at several batch sizes, and the graph with several steps a call."""
    measurements = []
    for size in sizes:
        times = {EAGER: 0.01, GRAPH: 0.004, XLA: 0.005}
        for execution, seconds in times.items():
            case = make_case(execution, batch_size=size)
            measurements.append(make_full(case, seconds * (size / 64) ** 0.8, trained=execution == GRAPH))
        half = make_case(GRAPH, "mixed_bfloat16", batch_size=size)
        measurements.append(make_full(half, 0.003 * (size / 64) ** 0.8, trained=True))
        several = make_case(GRAPH, batch_size=size, steps_per_call=20)
        measurements.append(make_full(several, 0.0035 * (size / 64) ** 0.8))
    repository = Repository(commit="c" * 40, branch="main", dirty=True, lock=LOCK)
    environment = msgspec.structs.replace(ENVIRONMENT, repository=repository)
    return make_run(*measurements, attainable=(ATTAINABLE,), environment=environment)


def full_summary(run: Run) -> Summary:
    """Its summary with everything that is known of efficiency, and a recommendation."""
    summary = summarize(run)
    best = summary.cases[0]
    recommendation = Recommendation(
        workload=best.workload,
        device=best.device,
        best=(best.id,),
        headline="use the first one",
        why=("it is the fastest", "it converges alike"),
    )
    return msgspec.structs.replace(
        summary,
        cases=tuple(map(_with_efficiency, summary.cases)),
        attainable=run.attainable,
        recommendations=(recommendation,),
    )


def _with_efficiency(case: CaseSummary) -> CaseSummary:
    flops = 5e6 * case.batch_size
    assert case.step_time_s
    return msgspec.structs.replace(
        case,
        flops_per_step=flops,
        bytes_per_step=flops / 12,
        flops_utilization=flops / case.step_time_s.value / 2e11,
        epoch_s=case.step_time_s.inverse(1.0),
        break_even=Estimate(120.0, 80.0, None),
        energy_per_1000_examples_j=Estimate(3.2, 3.0, 3.4),
        memory_by_phase={"build": 20 * MEBIBYTE, "first call": 45 * MEBIBYTE, "steps": 40 * MEBIBYTE},
    )
