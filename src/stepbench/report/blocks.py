"""What a report consists of, whatever shows it: paragraphs and tables. Their texts need not be safe to print."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

BOLD, DIM = "bold", "dim"


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    key: float | None = None
    """Of a figure: to sort by; cells without are sorted by their text, after those that have one."""
    tone: str = ""
    """``good``, ``bad``, ``doubtful`` or ``quiet``; never the only bearer of what is said."""
    struck: str = ""
    """Why it does not count, if so."""


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    prose: bool = False
    """Whether the column holds text, and not figures."""


@dataclass(frozen=True)
class Table:
    """A table; in pages the first cell of each row says what the row is about."""

    title: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    styles: Mapping[int, str] = field(default_factory=dict)
    """How a terminal writes a row, by its number; a style of rich's."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sentences beneath, with the first cells of the rows that they are about."""
    name: str = ""
    """Distinct within a page."""
    sortable: bool = False
    filterable: bool = False


@dataclass(frozen=True)
class Paragraph:
    """A paragraph and what follows from it, point by point."""

    text: str
    points: Sequence[str] = ()
    style: str = ""
    """``BOLD`` or ``DIM``."""


@dataclass(frozen=True)
class Commands:
    """Lines to copy, shown as they are."""

    lines: Sequence[str]


Block = Table | Paragraph | Commands
Chapters = Sequence[Sequence[Block]]
"""Blocks that belong together; a terminal shows an empty line between chapters."""


def text_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    prose: Container[str] = (),
    *,
    title: str = "",
    name: str = "",
    styles: Mapping[int, str] | None = None,
) -> Table:
    """A plain table.

    Args:
        heads: of its columns.
        rows: the texts of its cells.
        prose: the heads of the columns that hold text and not figures.
        title: what it shows.
        name: distinct within the page.
        styles: of rows in a terminal, by their number.
    """
    cells = [[Cell(text) for text in row] for row in rows]
    return Table(title, [Head(head, prose=head in prose) for head in heads], cells, styles or {}, name=name)
