"""Why one case, or one side of it, is faster than another, as pages show it."""

from __future__ import annotations

import dataclasses

from stepbench.report import explain
from stepbench.report.blocks import Paragraph
from stepbench.report.explain import Explained
from stepbench.report.html.view import PageBlock


def explanation_blocks(name: str, what: Explained) -> list[PageBlock]:
    """A sentence with what to think and do about it, and the table that accounts for the difference.

    Args:
        name: of the table; distinct within the page.
        what: to be shown.
    """
    table = explain.table(what)
    order = (1, 2, 0, *range(3, len(table.heads)))  # In pages the rows are about the work.
    heads, rows = [table.heads[column] for column in order], [[row[column] for column in order] for row in table.rows]
    shown = dataclasses.replace(table, name=name, title=explain.legend(what), heads=heads, rows=rows)
    return [Paragraph(explain.headline(what), (*what.doubts, *what.advice)), shown]
