"""Reports as a terminal shows them."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from stepbench.report import formats
from stepbench.report.blocks import BOLD, Cell, Chapters, Commands, Head, Paragraph, Table

FILE_WIDTH = 160
"""Columns where the output goes to a file or a pipe, which has no width of its own."""
GAP = 2
"""Blanks between columns."""
NARROWEST_PROSE = 16
"""Before a column of text gets narrower, figures are wrapped too."""


def make_console() -> Console:
    """A console for results: as wide as the terminal, or wide where there is none."""
    # Rich takes COLUMNS=0 at its word, and anything else that is no number for 80.
    columns_asked = os.environ.get("COLUMNS", "")
    asked = int(columns_asked) if columns_asked.isdecimal() else 0
    width = asked or (shutil.get_terminal_size().columns if sys.stdout.isatty() else FILE_WIDTH)
    return Console(width=width, highlight=False)


def print_chapters(chapters: Chapters, console: Console | None = None) -> None:
    """Print them, to the standard output if to no other console."""
    console = console or make_console()
    for number, blocks in enumerate(chapters):
        if number:
            console.print()
        for block in blocks:
            if isinstance(block, Table):
                _print_table(block, console)
            elif isinstance(block, Commands):
                console.print(Text("\n".join(f"  {formats.verbatim(line)}" for line in block.lines), overflow="fold"))
            else:
                _print_paragraph(block, console)


def as_text(chapters: Chapters) -> str:
    """What a file would hold."""
    text = io.StringIO()
    print_chapters(chapters, Console(file=text, width=FILE_WIDTH, color_system=None, highlight=False))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _print_paragraph(paragraph: Paragraph, console: Console) -> None:
    if paragraph.text:
        _say(paragraph.text, console, paragraph.style)
    for point in paragraph.points:
        _say(f"- {formats.plain(point)}", console)


def _say(text: str, console: Console, style: str = "") -> None:
    console.print(Text(formats.plain(text), style=style, overflow="fold"))


def _print_table(table: Table, console: Console) -> None:
    if table.title:
        _say(table.title, console, BOLD)
    heads, names, texts = _texts(table)
    widths = _widths(names, texts)
    if _in_all(widths) <= console.width:
        for number, row in enumerate([names, *texts], -1):
            style = table.styles.get(number, "") if number >= 0 else BOLD
            console.print(_line(row, heads, widths, style))
    else:
        console.print(_wrapped(table, heads, texts, widths, console.width))
    for number, note in enumerate(table.notes, 1):
        console.print(Text(f"{number}  {formats.plain(note)}", overflow="fold"))


def width_of(table: Table) -> int:
    """How many characters wide a table is whose cells take one line each."""
    _, names, texts = _texts(table)
    return _in_all(_widths(names, texts))


def _texts(table: Table) -> tuple[list[Head], list[Text], list[list[Text]]]:
    """Its heads, their names and its cells, as they are shown."""
    heads, rows = _with_marks(table)
    return heads, [Text(formats.plain(head.text)) for head in heads], [[_written(cell) for cell in row] for row in rows]


def _widths(names: Sequence[Text], texts: Sequence[Sequence[Text]]) -> list[int]:
    return [max(cell_len(text.plain) for text in column) for column in zip(names, *texts, strict=True)]


def _in_all(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _with_marks(table: Table) -> tuple[list[Head], list[list[Cell]]]:
    """The table with a column that points at its notes, if it has any."""
    if not table.notes:
        return list(table.heads), list(map(list, table.rows))
    marks = [
        ",".join(str(number) for number, about in enumerate(table.notes.values(), 1) if row[0].text in about)
        for row in table.rows
    ]
    rows = [[*row, Cell(mark)] for row, mark in zip(table.rows, marks, strict=True)]
    return [*table.heads, Head("notes", prose=True)], rows


def _written(cell: Cell) -> Text:
    return Text(formats.plain(cell.text), style="strike" if cell.struck else "")


def _line(row: Sequence[Text], heads: Sequence[Head], widths: Sequence[int], style: str) -> Text:
    """A row on one line: rich's own tables take a second for a thousand rows."""
    line = Text(style=style, overflow="fold")
    for text, head, width in zip(row, heads, widths, strict=True):
        blank = " " * (width - cell_len(text.plain))
        line.append(" " * GAP * bool(line))
        line.append_text(text.copy().append(blank) if head.prose else Text(blank).append_text(text))
    line.rstrip()
    return line


def _wrapped(
    table: Table, heads: Sequence[Head], texts: Sequence[Sequence[Text]], widths: Sequence[int], room: int
) -> RichTable:
    """Cells that take several lines: of columns of text first."""
    needed = (min(width, NARROWEST_PROSE) if head.prose else width for head, width in zip(heads, widths, strict=True))
    whole = sum(needed) + GAP * (len(heads) - 1) <= room
    shown = RichTable(box=None, pad_edge=False)
    for head in heads:
        side, kept = ("left" if head.prose else "right"), whole and not head.prose
        shown.add_column(formats.plain(head.text), justify=side, overflow="fold", no_wrap=kept)  # type: ignore[arg-type]
    for number, row in enumerate(texts):
        shown.add_row(*row, style=table.styles.get(number, ""))
    return shown
