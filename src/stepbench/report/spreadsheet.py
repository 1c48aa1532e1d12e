"""Reports as comma-separated values with full precision, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from stepbench.judge.statistics import Estimate
from stepbench.report import formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import Summary

_PLAIN = ("id", "workload", "execution", "precision", "device", "batch_size", "steps_per_call", "status")
_ESTIMATES = ("step_time_s", "throughput", "speedup", "break_even", "epoch_s", "energy_per_1000_examples_j")
_NUMBERS = (
    *("first_call_s", "compile_s", "break_even_steps", "peak_memory_bytes", "input_wait_share"),
    *("flops_per_step", "bytes_per_step", "flops_utilization", "roofline_flops"),
)


def comma_separated(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Values under their heads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue()


def _safe(value: object) -> object:
    """Text on one line; what a spreadsheet would take for a formula is quoted, as OWASP advises."""
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else formats.plain(value)
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def bounds(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    """What three columns hold: the value and its interval."""
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)


def bounded(names: Sequence[str]) -> list[str]:
    """The heads of estimates, three columns each."""
    return [name + part for name in names for part in ("", "_low", "_high")]


def summary_csv(summary: Summary) -> str:
    """A line a case."""
    heads = [*_PLAIN, *bounded(_ESTIMATES), *_NUMBERS, "equivalence", "failure", "message", "warnings"]
    return comma_separated(heads, map(_row, summary.cases))


def _row(case: CaseSummary) -> list[object]:
    return [
        *(getattr(case, name) for name in _PLAIN),
        *(bound for name in _ESTIMATES for bound in bounds(getattr(case, name))),
        *(getattr(case, name) for name in _NUMBERS),
        case.equivalence.verdict.value,
        *((case.failure.kind.value, case.failure.message) if case.failure else ("", "")),
        "; ".join(case.warnings),
    ]
