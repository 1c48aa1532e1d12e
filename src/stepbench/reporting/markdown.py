"""The tables in GitHub's markdown, for pull requests and job summaries."""

from __future__ import annotations

import re

from stepbench.reporting import columns
from stepbench.reporting.summary import CaseSummary, Status, Summary


def markdown(summary: Summary) -> str:
    """The run as markdown: one table per workload and device, all columns, notes beneath."""
    parts = [escape(columns.heading(summary)), *(_table(cases) for _, cases in columns.groups(summary.cases))]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """``text`` such that markdown and HTML show it as it is, on one line."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", " ".join(text.split()))


def _table(cases: list[CaseSummary]) -> str:
    heads = ["case", *(column.head for column in columns.FULL)]
    rows = [[columns.label(case, cases), *_cells(case)] for case in cases]
    lines = [
        f"**{escape(columns.title(cases))}**\n",
        _row(heads),
        _row([":--", *["--:"] * len(columns.FULL)], raw=True),
        *(_row(row) for row in rows),
    ]
    notes = [f"- {escape(text)} ({escape(', '.join(labels))})" for text, labels in columns.notes(cases).items()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(case: CaseSummary) -> list[str]:
    if case.status is Status.FAILED:
        return [f"failed: {case.failure.kind}" if case.failure else "not measured", *[""] * (len(columns.FULL) - 1)]
    return [column.write(case) for column in columns.FULL]


def _row(cells: list[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escape(cell) for cell in cells)} |"
