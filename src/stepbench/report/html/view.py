"""What templates are given: text and figures, no markup. Templates escape all of it."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepbench.report import formats

_WITH_INTERVAL = re.compile(r"(.+?) \[(.+)\]")


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    below: str = ""
    """The interval, written smaller on a line of its own."""
    key: float | None = None
    """To sort by; cells without are sorted by their text, after those that have one."""
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
    """A table; the first cell of each row says what the row is about."""

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False
    filterable: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure, drawn for screens and for phones, and its data."""

    title: str
    caption: str
    wide: Markup
    narrow: Markup
    table: Table


@dataclass(frozen=True)
class Text:
    """A paragraph and what follows from it, point by point."""

    text: str
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """Named facts under a title."""

    title: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Commands:
    """Lines to be typed into a shell."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Note:
    """A warning or failure and the cases that it is about."""

    text: str
    cases: Sequence[str] = ()
    is_failure: bool = False


Block = Table | Drawn | Text | Facts | Commands | Note


@dataclass(frozen=True)
class Part:
    """What a section says about one thing, such as one workload on one device."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """One topic."""

    name: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Verdict:
    """What to conclude about one workload on one device, or about a comparison."""

    scope: str
    headline: str
    tone: str
    badge: str = ""
    """The verdict in one word, where there is one."""
    figures: Sequence[tuple[str, str, str]] = ()
    """What, its value, and its interval."""
    why: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """All of a page: the verdict first."""

    title: str
    meta: Sequence[tuple[str, str]]
    """What it is about, as short named facts."""
    verdicts: Sequence[Verdict]
    alerts: Sequence[str]
    """What must not be overlooked."""
    sections: Sequence[Section]


def section(name: str, title: str, parts: Sequence[Part]) -> list[Section]:
    """A section of the parts that hold anything; none if none does."""
    filled = [part for part in parts if part.blocks]
    return [Section(name, title, filled)] if filled else []


def number_cell(text: str, key: float | None) -> Cell:
    """A figure whose interval, if it has one, stands below it."""
    found = _WITH_INTERVAL.fullmatch(text)
    if found is None:
        return Cell(text, key=key, tone="quiet" if text == formats.ABSENT else "")
    low_and_high = found[2].replace(", ", " – ")
    return Cell(found[1], below=low_and_high, key=key)


def without_empty_columns(heads: Sequence[Head], rows: Sequence[Sequence[Cell]]) -> tuple[list[Head], list[list[Cell]]]:
    """The columns that say something in any row."""
    kept = [index for index in range(len(heads)) if any(row[index].text for row in rows)]
    return [heads[index] for index in kept], [[row[index] for index in kept] for row in rows]


def text_table(
    name: str, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], prose: Container[str] = ()
) -> Table:
    """A plain table.

    Args:
        name: distinct within the page.
        caption: what it shows.
        heads: of its columns.
        rows: the texts of its cells.
        prose: the heads of the columns that hold text and not figures, beside the first.
    """
    return Table(
        name,
        caption,
        [Head(head, prose=not index or head in prose) for index, head in enumerate(heads)],
        [[Cell(text) for text in row] for row in rows],
    )
