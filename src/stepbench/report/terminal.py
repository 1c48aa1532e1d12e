"""The table that a terminal shows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepbench.report import columns, formats
from stepbench.report.columns import Column
from stepbench.report.recommendation import Recommendation
from stepbench.report.summary import CaseSummary, Profile, Status, Summary

LAYOUTS: tuple[tuple[int, tuple[Column, ...]], ...] = (
    (158, columns.FULL),
    (110, (columns.STEP_TIME, columns.THROUGHPUT_ALONE, columns.SPEEDUP, columns.CONVERGENCE, columns.FIRST_CALL)),
    (80, (columns.STEP_TIME_ALONE, columns.SPEEDUP, columns.CONVERGENCE)),
    (0, (columns.STEP_TIME_ALONE, columns.SPEEDUP)),
)
"""From what width on which columns fit; the reports in files have them all."""


PROFILE_LAYOUTS: tuple[tuple[int, tuple[Column, ...]], ...] = (
    (130, columns.PROFILED),
    (85, columns.PROFILED_PARTS),
    (0, ()),
)
EFFICIENCY_LAYOUTS: tuple[tuple[int, tuple[Column, ...]], ...] = (
    (150, columns.EFFICIENCY),
    (80, columns.EFFICIENCY_MAIN),
    (0, ()),
)
FILE_WIDTH = 160
"""Columns where the output goes to a file or a pipe, which has no width of its own."""


def print_summary(summary: Summary, console: Console | None = None, *, operations: bool = False) -> None:
    """Print the run as one table per workload and device, fastest first, its notes beneath, and what to use at the end.

    Args:
        summary: what to print.
        console: where to; the standard output if None.
        operations: whether to list each case's operations too, those that take longest first.
    """
    console = console or make_console()
    console.print(Text(columns.heading(summary), style="dim"))
    for _, cases in columns.groups(summary.cases):
        console.print(_render(cases, console.width))
    for line in columns.limits(summary):
        console.print(Text(f"\n{line}", style="dim"))
    for recommendation in summary.recommendations:
        console.print(_recommendation(recommendation))
    for case in summary.cases if operations else ():
        if case.profile:
            console.print(_operations(case.id, case.profile))


def _recommendation(what: Recommendation) -> RenderableType:
    why = (Text(f"- {formats.plain(sentence)}", overflow="fold") for sentence in what.why)
    title, headline = (Text(formats.plain(text), style="bold", overflow="fold") for text in (what.title, what.headline))
    return Group(Text(), title, headline, *why)


def make_console() -> Console:
    """A console for results: as wide as the terminal, or wide where there is none."""
    # Rich takes COLUMNS=0 at its word, and anything else that is no number for 80.
    columns_asked = os.environ.get("COLUMNS", "")
    asked = int(columns_asked) if columns_asked.isdecimal() else 0
    width = asked or (shutil.get_terminal_size().columns if sys.stdout.isatty() else FILE_WIDTH)
    return Console(width=width, highlight=False)


def _render(cases: list[CaseSummary], width: int) -> RenderableType:
    notes = columns.notes(cases)
    marks = {text: str(index) for index, text in enumerate(notes, 1)}

    def marks_of(case: CaseSummary) -> str:
        return ",".join(marks[text] for text, about in notes.items() if columns.label(case, cases) in about)

    layouts = (LAYOUTS, PROFILE_LAYOUTS, EFFICIENCY_LAYOUTS)
    timed, profiled, efficient = (next(layout for least, layout in each if width >= least) for each in layouts)
    (title, shown), *more = columns.tables(cases, timed, profiled, efficient)
    lines = [Text(f"{marks[text]}  {text}", overflow="fold") for text in notes]
    tables = [_table(title, shown, cases, marks_of if notes else None), *lines]
    tables += [_table(title, shown, cases, only_filled=True) for title, shown in more]
    return Group(*tables)


def _table(
    title: str,
    layout: Sequence[Column],
    cases: Sequence[CaseSummary],
    marks_of: Callable[[CaseSummary], str] | None = None,
    *,
    only_filled: bool = False,
) -> RenderableType:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("case", overflow="fold")
    for column in layout:
        prose = column.is_prose
        table.add_column(column.head, justify="left" if prose else "right", no_wrap=not prose)
    if marks_of:
        table.add_column("notes")
    for case in cases:
        if only_filled and not columns.is_filled(case, layout):
            continue
        cells = [_cell(column, case) for column in layout] if case.status is Status.OK else _failed(case, len(layout))
        notes = [Text(marks_of(case))] if marks_of else []
        table.add_row(Text(columns.label(case, cases)), *cells, *notes, style=_style(case))
    return Group(Text(), table)


def _operations(case_id: str, profile: Profile) -> RenderableType:
    table = Table(title=Text(case_id), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for head in ("ms a step", "share", "calls"):
        table.add_column(head, justify="right")
    for head in ("part", "type", "operation"):
        table.add_column(head, overflow="fold")
    for operation in profile.operations:
        table.add_row(
            formats.number(1e3 * operation.seconds),
            formats.share(operation.seconds / profile.step_s),
            formats.number(operation.calls),
            operation.part,
            Text(formats.plain(operation.kind)),
            Text(formats.plain(operation.name)),
        )
    return Group(Text(), table)


def _cell(column: Column, case: CaseSummary) -> Text:
    struck = column is columns.SPEEDUP and not columns.counts(case)
    return Text(formats.plain(column.write(case)), style="strike" if struck else "")


def _failed(case: CaseSummary, width: int) -> list[Text]:
    return [Text(case.failure.kind if case.failure else "not measured"), *[Text()] * (width - 1)][:width]


def _style(case: CaseSummary) -> str:
    return "red" if case.status is Status.FAILED else ""
