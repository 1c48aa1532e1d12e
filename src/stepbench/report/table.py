"""The run as comma-separated values, one line a case, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io

from stepbench.judge.statistics import Estimate
from stepbench.report import formats
from stepbench.report.summary import CaseSummary, Summary

_ESTIMATES = ("step_time_s", "throughput", "speedup", "break_even", "epoch_s", "energy_per_1000_examples_j")
_PLAIN = ("id", "workload", "execution", "precision", "device", "batch_size", "steps_per_call", "status")
_NUMBERS = (
    *("first_call_s", "compile_s", "break_even_steps", "peak_memory_bytes", "input_wait_share"),
    *("flops_per_step", "bytes_per_step", "flops_utilization", "roofline_flops"),
)


def comma_separated(summary: Summary) -> str:
    """All cases with full precision; an estimate takes three columns, the last two its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    estimates = [name + part for name in _ESTIMATES for part in ("", "_low", "_high")]
    writer.writerow([*_PLAIN, *estimates, *_NUMBERS, "equivalence", "failure", "message", "warnings"])
    for case in summary.cases:
        writer.writerow(_row(case))
    return text.getvalue()


def _row(case: CaseSummary) -> list[object]:
    estimates = [bound for name in _ESTIMATES for bound in bounds(getattr(case, name))]
    failure = (case.failure.kind.value, case.failure.message) if case.failure else ("", "")
    return [
        *(safe(getattr(case, name)) for name in _PLAIN),
        *estimates,
        *(getattr(case, name) for name in _NUMBERS),
        case.equivalence.verdict.value,
        failure[0],
        safe(formats.plain(failure[1])),
        safe(formats.plain("; ".join(case.warnings))),
    ]


def bounds(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    """What three columns hold: the value and its interval."""
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)


def safe(value: object) -> object:
    """Text that a spreadsheet would take for a formula is quoted, as OWASP advises against CSV injection."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value
