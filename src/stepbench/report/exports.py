"""A run in the formats of programs that keep benchmarks and compare them from commit to commit."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from stepbench.errors import StepbenchError
from stepbench.judge.statistics import Estimate
from stepbench.records.machine import Repository
from stepbench.records.run import Measurement
from stepbench.records.store import Run, slug
from stepbench.report import formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.case_tables import failure_of
from stepbench.report.summary import Summary

LONGEST_BENCHER_NAME = 1024
"""Bytes."""


def exported(name: str, run: Run, summary: Summary) -> str:
    """The measured cases of ``summary`` as JSON, in ASCII, so that it survives whatever it is piped through.

    Args:
        name: of the format, as ``FORMATS`` has it.
        run: holds the blocks.
        summary: its summary, perhaps of certain cases alone.

    Raises:
        StepbenchError: when no case was measured.
    """
    measured = [case for case in summary.cases if case.step_time_s]
    if not measured:
        raise StepbenchError(f"Run {run.run_id} has no times to export: see why with 'stepbench report {run.run_id}'.")
    return json.dumps(FORMATS[name](run, measured), indent=1, allow_nan=False)


def left_out(summary: Summary) -> tuple[str, ...]:
    """A sentence for each case that an export is without."""
    return tuple(
        formats.plain(f"{case.id} is left out: {failure_of(case)}") for case in summary.cases if not case.step_time_s
    )


def pytest_benchmark(run: Run, cases: Sequence[CaseSummary]) -> dict[str, Any]:
    """What ``pytest-benchmark compare`` reads, with its own statistics of the blocks' seconds a step.

    It knows no replicates, so the blocks of all are together there; stepbench's estimates are in ``extra_info``. What
    describes the machine and the commit are the run's, as far as it knows them, under pytest-benchmark's names.
    """
    from pytest_benchmark import __version__

    by_id = {measurement.case.id: measurement for measurement in run.measurements}
    return {
        "machine_info": _machine_info(run),
        "commit_info": _commit_info(run),
        "benchmarks": [_benchmark(case, by_id[case.id]) for case in cases],
        "datetime": run.started.isoformat(),
        "version": __version__,
    }


def _benchmark(case: CaseSummary, measurement: Measurement) -> dict[str, Any]:
    from pytest_benchmark.stats import Stats

    blocks = [block for replicate in measurement.replicates for block in replicate.blocks]
    stats: Any = Stats()  # type: ignore[no-untyped-call] # pytest-benchmark has no types.
    for block in blocks:
        stats.update(block.seconds / block.steps)
    steps = statistics.median_low(block.steps for block in blocks)
    return {
        "group": "/".join(str(part) for part in measurement.case.group),
        "name": case.id,
        "fullname": case.id,
        "params": None,
        "param": None,
        "extra_info": {
            "step_time_s": _bounds(case.step_time_s),
            "speedup": _bounds(case.speedup),
            "equivalence": case.equivalence.verdict.value,
        },
        "options": {},
        "stats": {**stats.as_dict(), "data": stats.data, "iterations": steps},
    }


def _bounds(estimate: Estimate | None) -> dict[str, float | None] | None:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high} if estimate else None


def _machine_info(run: Run) -> dict[str, Any]:
    host, cpu = run.environment.host, run.environment.cpu
    return {
        "node": host.hostname,
        "machine": host.architecture,
        "system": host.system,
        "release": host.kernel,
        "python_version": run.environment.software.python,
        "cpu": {
            "brand_raw": cpu.model,
            "vendor_id_raw": cpu.vendor,
            "count": cpu.logical_cores,
            "flags": list(cpu.features),
        },
    }


def _commit_info(run: Run) -> dict[str, Any]:
    repository = run.environment.repository or Repository(branch="(unknown)")
    return {
        "id": repository.commit or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": bool(repository.dirty),
        "project": None,
        "branch": repository.branch or "(detached head)",
    }


def github_action_benchmark(_run: Run, cases: Sequence[CaseSummary]) -> list[dict[str, Any]]:
    """What github-action-benchmark's tool ``customSmallerIsBetter`` reads; ``range`` is half the interval."""
    return [_entry(case) for case in cases]


def _entry(case: CaseSummary) -> dict[str, Any]:
    time = case.step_time_s
    assert time, "only measured cases are exported"
    half_width = time.relative_half_width
    range_ = {} if half_width is None else {"range": f"± {1e3 * half_width * time.value:.3g}"}
    extra = (
        f"{formats.estimate(case.throughput)} examples a second",
        *([f"{formats.estimate(case.speedup, unit='×')} as fast as the reference"] if case.speedup else []),
        f"converges: {case.equivalence.verdict.replace('_', ' ')}",
    )
    return {"name": case.id, "unit": "ms/step", "value": 1e3 * time.value, **range_, "extra": "\n".join(extra)}


def bencher(_run: Run, cases: Sequence[CaseSummary]) -> dict[str, Any]:
    """The Bencher Metric Format, with its two built-in measures.

    ``latency`` is in nanoseconds a step. ``throughput`` is in operations a second: here an operation is one example.
    """
    return {_bencher_name(case.id): _measures(case) for case in cases}


def _bencher_name(case_id: str) -> str:
    return case_id if len(case_id.encode()) <= LONGEST_BENCHER_NAME else slug(case_id)


def _measures(case: CaseSummary) -> dict[str, Any]:
    assert case.step_time_s, "only measured cases are exported"
    assert case.throughput, "what has a step time has a throughput"
    return {"latency": _metric(case.step_time_s, 1e9), "throughput": _metric(case.throughput)}


def _metric(estimate: Estimate, scale: float = 1.0) -> dict[str, float]:
    named = {"value": estimate.value, "lower_value": estimate.low, "upper_value": estimate.high}
    return {name: scale * value for name, value in named.items() if value is not None}


FORMATS = {
    "pytest-benchmark": pytest_benchmark,
    "github-action-benchmark": github_action_benchmark,
    "bencher": bencher,
}
