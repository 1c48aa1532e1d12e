"""Small tables of texts, printed to a terminal, as markdown, or as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stepbench.report import formats
from stepbench.report.markdown import escape, table_lines
from stepbench.report.table import safe
from stepbench.report.terminal import make_console


@dataclass(frozen=True)
class Grid:
    """A title, a table, and sentences beneath; none of the texts need be safe to print."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: frozenset[str] = frozenset()
    """The heads of columns that hold figures."""
    notes: Sequence[str] = ()
    styles: Mapping[int, str] = field(default_factory=dict)
    """Rich's, by the row's number."""


def print_grid(grid: Grid, console: Console | None = None) -> None:
    """Print it to a terminal, a row a line: rich's own tables take a second for a thousand rows."""
    console = console or make_console()
    console.print(Text(formats.plain(grid.title), style="bold", overflow="fold"))
    rows = [[formats.plain(cell) for cell in row] for row in (grid.heads, *grid.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    figures = [head in grid.figures for head in grid.heads]
    for number, row in enumerate(rows, -1):
        cells = (_padded(*cell) for cell in zip(row, widths, figures, strict=True))
        style = grid.styles.get(number, "") if number >= 0 else "bold"
        console.print(Text("  ".join(cells).rstrip(), style=style, overflow="fold"))
    for note in grid.notes:
        console.print(Text(f"- {formats.plain(note)}", overflow="fold"))


def _padded(cell: str, width: int, to_the_right: bool) -> str:  # noqa: FBT001 - private, and a column's property.
    blank = " " * (width - cell_len(cell))
    return blank + cell if to_the_right else cell + blank


def markdown_grid(grid: Grid) -> str:
    """The same in GitHub's markdown."""
    sides = "".join("r" if head in grid.figures else "l" for head in grid.heads)
    lines = [f"**{escape(grid.title)}**", "", *table_lines(grid.heads, sides, grid.rows), ""]
    return "\n".join([*lines, *(f"- {escape(note)}" for note in grid.notes)]) + "\n"


def comma_separated_rows(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Values with full precision under their heads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([safe(formats.plain(cell) if isinstance(cell, str) else cell) for cell in row] for row in rows)
    return text.getvalue()
