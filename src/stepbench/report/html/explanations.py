"""Why one case, or one side of it, is faster than another, as pages show it."""

from __future__ import annotations

from stepbench.report.explanation import Explained, Side, cells, headline
from stepbench.report.html.view import Block, Text, text_table


def explanation_blocks(name: str, what: Explained) -> list[Block]:
    """A sentence with what to think and do about it, and the table that accounts for the difference.

    Args:
        name: of the table; distinct within the page.
        what: to be shown.
    """
    heads, *rows = ([row[1], row[2], row[0], *row[3:]] for row in _lines(what))  # The work first: rows are about it.
    a, b = (_name(side, what) for side in (what.a, what.b))
    caption = f"A is {a}, B is {b}; + where B takes longer"
    return [
        Text(headline(what), [*what.doubts, *what.advice]),
        text_table(name, caption, heads, rows, prose=("part", "mostly")),
    ]


def _name(side: Side, what: Explained) -> str:
    where = side.revision or (side.run_id if what.a.run_id != what.b.run_id else "")
    return f"{side.id} of {where}" if where else side.id


def _lines(what: Explained) -> list[list[str]]:
    heads, rows = cells(what)
    return [heads, *rows]
