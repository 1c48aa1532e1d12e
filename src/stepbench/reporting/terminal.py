"""The table that a terminal shows."""

from __future__ import annotations

import os
import sys

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepbench.reporting import columns
from stepbench.reporting.columns import Column
from stepbench.reporting.summary import CaseSummary, Status, Summary

LAYOUTS: tuple[tuple[int, tuple[Column, ...]], ...] = (
    (140, columns.FULL),
    (100, (columns.STEP_TIME, columns.THROUGHPUT_ALONE, columns.SPEEDUP, columns.FIRST_CALL, columns.PEAK_MEMORY)),
    (72, (columns.STEP_TIME_ALONE, columns.THROUGHPUT_ALONE, columns.SPEEDUP)),
    (0, (columns.STEP_TIME_ALONE, columns.SPEEDUP)),
)
"""From what width on which columns fit; the reports in files have them all."""


FILE_WIDTH = 160
"""Columns where the output goes to a file or a pipe, which has no width of its own."""


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print the run as one table per workload and device, fastest first, with its notes beneath."""
    console = console or _console()
    console.print(Text(columns.heading(summary), style="dim"))
    for _, cases in columns.groups(summary.cases):
        console.print(_render(cases, console.width))


def _console() -> Console:
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return Console(width=width, highlight=False)


def _render(cases: list[CaseSummary], width: int) -> RenderableType:
    layout = next(layout for least, layout in LAYOUTS if width >= least)
    notes = columns.notes(cases)
    marks = {text: str(index) for index, text in enumerate(notes, 1)}
    table = Table(title=Text(columns.title(cases)), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("case", overflow="fold")
    for column in layout:
        table.add_column(column.head, justify="right", no_wrap=True)
    if notes:
        table.add_column("notes")
    for case in cases:
        label = columns.label(case, cases)
        mine = ",".join(marks[text] for text, labels in notes.items() if label in labels)
        cells = [column.write(case) for column in layout] if case.status is Status.OK else _failed(case, len(layout))
        table.add_row(*(Text(cell) for cell in (label, *cells, *([mine] if notes else []))), style=_style(case))
    lines = [Text(f"{marks[text]}  {text}", overflow="fold") for text in notes]
    return Group(Text(), table, *lines)


def _failed(case: CaseSummary, width: int) -> list[str]:
    return [case.failure.kind if case.failure else "not measured", *[""] * (width - 1)]


def _style(case: CaseSummary) -> str:
    return "red" if case.status is Status.FAILED else ""
