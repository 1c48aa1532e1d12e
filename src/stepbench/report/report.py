"""What is printed of a run: a table for each workload and device, what limits the device, and what to use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stepbench.report import case_tables, columns, formats
from stepbench.report.blocks import BOLD, DIM, Chapters, Paragraph, Table, text_table
from stepbench.report.case_summary import Profile
from stepbench.report.case_tables import Layouts
from stepbench.report.summary import Summary

if TYPE_CHECKING:
    from rich.console import Console

LAYOUTS: Layouts = (
    columns.FULL,
    (columns.STEP_TIME, columns.THROUGHPUT_ALONE, *columns.FULL[2:]),
    (columns.STEP_TIME, columns.THROUGHPUT_ALONE, columns.SPEEDUP, columns.CONVERGENCE, columns.FIRST_CALL),
    (columns.STEP_TIME_ALONE, columns.SPEEDUP, columns.CONVERGENCE),
    (columns.STEP_TIME_ALONE, columns.SPEEDUP),
)
"""Of the columns, the first that a terminal has room for; the reports in files have them all."""
PROFILE_LAYOUTS: Layouts = (columns.PROFILED, columns.PROFILED_PARTS, ())
EFFICIENCY_LAYOUTS: Layouts = (columns.EFFICIENCY, columns.EFFICIENCY_MAIN, ())


def print_summary(summary: Summary, console: Console | None = None, *, operations: bool = False) -> None:
    """Print the run as a terminal of that width has room for."""
    from stepbench.report.text import make_console, print_chapters

    console = console or make_console()
    print_chapters(chapters(summary, console.width, operations=operations), console)


def chapters(summary: Summary, width: int | None = None, *, operations: bool = False) -> Chapters:
    """The run as one table per workload and device, fastest first, its notes beneath, and what to use at the end.

    Args:
        summary: what to show.
        width: leaves out columns that a terminal of so many characters has no room for.
        operations: whether to list each case's operations too, those that take longest first.
    """
    layouts = (LAYOUTS, PROFILE_LAYOUTS, EFFICIENCY_LAYOUTS)
    failed = case_tables.FAILED if width is None else ""  # A terminal shows it in red, and has little room.
    return [
        [Paragraph(heading(summary), style=DIM)],
        *([Paragraph(remark, style=DIM)] for remark in summary.remarks),
        *(
            [table]
            for _, cases in case_tables.groups(summary.cases)
            for table in case_tables.tables(cases, layouts, width, failed)
        ),
        *([Paragraph(line, style=DIM)] for line in limits(summary)),
        *(
            [Paragraph(what.title, style=BOLD), Paragraph(what.headline, what.why, BOLD)]
            for what in summary.recommendations
        ),
        *([_operations(case.id, case.profile)] for case in summary.cases if operations and case.profile),
    ]


def heading(summary: Summary) -> str:
    """One line: the run, the machine, the data."""
    return f"run {summary.run_id} · {formats.machine(summary.environment)} · data {summary.data}"


def limits(summary: Summary) -> list[str]:
    """A line for each device: what it attained in this run, and what its maker promises."""
    return [formats.plain(line) for line in _limits(summary)]


def _limits(summary: Summary) -> Iterator[str]:
    for device in summary.attainable:
        rounded = " (float32 rounded to TensorFloat-32)" if device.tensor_float_32 else ""
        yield f"attained on {device.device}: {_peaks(device.flops, device.bandwidth)}{rounded}"
    for published in summary.published:
        yield f"published for {published.name}, dense: {_peaks(published.flops, published.bandwidth)}"


def _peaks(flops: dict[str, float], bandwidth: float) -> str:
    products = ", ".join(f"{formats.rate(rate, 'FLOP')} in {dtype}" for dtype, rate in flops.items())
    return f"matrix products {products}; memory {formats.rate(bandwidth, 'B')}"


def _operations(case_id: str, profile: Profile) -> Table:
    rows = [
        (
            formats.number(1e3 * operation.seconds),
            formats.share(operation.seconds / profile.step_s),
            formats.number(operation.calls),
            *(operation.part, operation.kind, operation.name),
        )
        for operation in profile.operations
    ]
    prose = ("part", "type", "operation")
    return text_table(("ms a step", "share", "calls", *prose), rows, prose, title=case_id)
