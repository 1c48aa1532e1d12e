"""What templates are given: text and figures, no markup. Templates escape all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepbench.report.blocks import Cell, Commands, Head, Paragraph, Table


@dataclass(frozen=True)
class Drawn:
    """A figure, drawn for screens and for phones, and its data."""

    title: str
    caption: str
    wide: Markup
    narrow: Markup
    table: Table


@dataclass(frozen=True)
class Facts:
    """Named facts under a title."""

    title: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Note:
    """A warning or failure and the cases that it is about."""

    text: str
    cases: Sequence[str] = ()
    is_failure: bool = False


PageBlock = Table | Drawn | Paragraph | Facts | Commands | Note


@dataclass(frozen=True)
class Part:
    """What a section says about one thing, such as one workload on one device."""

    title: str
    blocks: Sequence[PageBlock]


@dataclass(frozen=True)
class Section:
    """One topic."""

    name: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Conclusion:
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
    verdicts: Sequence[Conclusion]
    alerts: Sequence[str]
    """What must not be overlooked."""
    sections: Sequence[Section]


def section(name: str, title: str, parts: Sequence[Part]) -> list[Section]:
    """A section of the parts that hold anything; none if none does."""
    filled = [part for part in parts if part.blocks]
    return [Section(name, title, filled)] if filled else []


def without_empty_columns(heads: Sequence[Head], rows: Sequence[Sequence[Cell]]) -> tuple[list[Head], list[list[Cell]]]:
    """The columns that say something in any row."""
    kept = [index for index in range(len(heads)) if any(row[index].text for row in rows)]
    return [heads[index] for index in kept], [[row[index] for index in kept] for row in rows]
