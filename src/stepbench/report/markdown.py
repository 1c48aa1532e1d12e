"""The tables in GitHub's markdown, for pull requests and job summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from stepbench.report import columns, formats
from stepbench.report.columns import Column
from stepbench.report.recommendation import Recommendation
from stepbench.report.summary import CaseSummary, Status, Summary


def markdown(summary: Summary) -> str:
    """The run as markdown: one table per workload and device, all columns, notes beneath; what to use at the end."""
    parts = [escape(columns.heading(summary)), *(_tables(cases) for _, cases in columns.groups(summary.cases))]
    parts += [escape(line) for line in columns.limits(summary)]
    parts += map(_recommendation, summary.recommendations)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """``text`` such that markdown and HTML show it as it is, on one line."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", formats.plain(text))


def _recommendation(what: Recommendation) -> str:
    why = [f"- {_beginning(sentence)}" for sentence in what.why]
    return "\n\n".join([f"**{escape(what.title)}**", _beginning(what.headline), *(["\n".join(why)] if why else [])])


def _beginning(text: str) -> str:
    """``text`` escaped for the beginning of a line, where a name such as ``- a`` or ``1. a`` would make a list."""
    return re.sub(r"^(\d*)([-+.)])", r"\1\\\2", escape(text))


def _tables(cases: list[CaseSummary]) -> str:
    notes = [f"- {escape(text)} ({escape(', '.join(labels))})" for text, labels in columns.notes(cases).items()]
    (title, layout), *others = columns.tables(cases)
    first = _table(title, layout, cases)
    more = [_table(title, layout, cases, only_filled=True) for title, layout in others]
    return "\n\n".join([first, *(["\n".join(notes)] if notes else []), *more])


def _table(title: str, layout: tuple[Column, ...], cases: list[CaseSummary], *, only_filled: bool = False) -> str:
    rows = [case for case in cases if not only_filled or columns.is_filled(case, layout)]
    lines = [
        f"**{escape(title)}**\n",
        _row(["case", *(escape(column.head) for column in layout)]),
        _row([":--", *(":--" if column.is_prose else "--:" for column in layout)]),
        *(_row([escape(columns.label(case, cases)), *_cells(case, layout)]) for case in rows),
    ]
    return "\n".join(lines)


def _cells(case: CaseSummary, layout: tuple[Column, ...]) -> list[str]:
    if case.status is Status.FAILED:
        failure = f"failed: {case.failure.kind}" if case.failure else "not measured"
        return [escape(failure), *[""] * (len(layout) - 1)]
    return [_cell(column, case) for column in layout]


def _cell(column: Column, case: CaseSummary) -> str:
    text = escape(column.write(case))
    return f"~~{text}~~" if column is columns.SPEEDUP and not columns.counts(case) else text


def table_lines(heads: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, its cells escaped; ``sides`` has for each column the side its cells keep to, l or r."""
    marks = [{"l": ":--", "r": "--:"}[side] for side in sides]
    return [_row(heads), _row(marks), *(_row([escape(cell) for cell in row]) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
