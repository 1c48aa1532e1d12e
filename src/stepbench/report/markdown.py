"""Reports in GitHub's markdown, for pull requests and job summaries."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Cell, Chapters, Commands, Paragraph, Table


def markdown(chapters: Chapters) -> str:
    """All blocks, with an empty line between them."""
    return "\n\n".join(filter(None, (_block(block) for blocks in chapters for block in blocks))) + "\n"


def escape(text: str) -> str:
    """``text`` such that markdown and HTML show it as it is, on one line."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", formats.plain(text))


def _beginning(text: str) -> str:
    """``text`` escaped for the beginning of a line, where a name such as ``- a`` or ``1. a`` would make a list."""
    return re.sub(r"^(\d*)([-+.)])(?!\d)", r"\1\\\2", escape(text))


def _block(block: Block) -> str:
    if isinstance(block, Commands):
        return "\n".join(["```", *map(formats.verbatim, block.lines), "```"])
    return _table(block) if isinstance(block, Table) else _paragraph(block)


def _paragraph(paragraph: Paragraph) -> str:
    text = f"**{escape(paragraph.text)}**" if paragraph.style == BOLD else _beginning(paragraph.text)
    points = "\n".join(f"- {_beginning(point)}" for point in paragraph.points)
    return "\n\n".join(filter(None, (text, points)))


def _table(table: Table) -> str:
    lines = [
        _row([escape(head.text) for head in table.heads]),
        _row([":--" if head.prose else "--:" for head in table.heads]),
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
    ]
    notes = [f"- {_beginning(note)} ({escape(', '.join(rows))})" for note, rows in table.notes.items()]
    title = f"**{escape(table.title)}**" if table.title else ""
    return "\n\n".join(filter(None, (title, "\n".join(lines), "\n".join(notes))))


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"~~{text}~~" if cell.struck else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
