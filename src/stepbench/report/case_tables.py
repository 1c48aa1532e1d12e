"""Tables of the cases that share a workload and a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepbench.judge.training import Verdict
from stepbench.report import columns, formats
from stepbench.report.blocks import Cell, Head, Table
from stepbench.report.case_summary import CaseSummary, Status
from stepbench.report.columns import Column, label

Layout = tuple[Column, ...]
Layouts = Sequence[Layout]
FAILED = "failed: "


def groups(cases: Sequence[CaseSummary]) -> list[tuple[str, list[CaseSummary]]]:
    """The cases of each workload on each device, titled by these."""
    found: dict[str, list[CaseSummary]] = {}
    for case in cases:
        found.setdefault(f"{case.workload} on {case.device}", []).append(case)
    return list(found.items())


def tables(
    cases: Sequence[CaseSummary], layouts: Sequence[Layouts], width: int | None = None, failed: str = FAILED
) -> list[Table]:
    """The tables that there is something to show in; the first has all cases and what is to be noted of them.

    Args:
        cases: of one group.
        layouts: the columns of the main table, of where the time goes, and of how close to the limit the cases come;
            of each the widest first.
        width: of a terminal, in characters, which shows the widest that it has room for.
        failed: stands before a failure's kind.
    """
    title, (timed, profiled, efficient) = _title(cases), layouts
    found: list[tuple[str, Layouts]] = []
    if any(case.step_time_s or case.status is Status.FAILED for case in cases):
        found.append((title, timed))
    elif any(case.equivalence.verdict is not Verdict.NOT_CHECKED for case in cases):
        found.append((title, (columns.VERIFIED,)))
    if any(case.flops_per_step for case in cases):
        known = [tuple(column for column in layout if any(map(column.is_filled, cases))) for layout in efficient]
        found.append((f"{title}: how close to the limit", known))
    if any(case.profile for case in cases):
        found.append((f"{title}: where a step's milliseconds go", profiled))
    (first, every), *others = found or [(title, ((),))]
    shown = _widest((_table(first, cases, cases, layout, failed, notes(cases)) for layout in every), width)
    beside = [
        _widest((_table(title, _filled(cases, layout), cases, layout, failed) for layout in every), width)
        for title, every in others
    ]
    return [shown, *(table for table in beside if len(table.heads) > 1)]


def _filled(cases: Sequence[CaseSummary], layout: Layout) -> list[CaseSummary]:
    return [case for case in cases if any(column.is_filled(case) for column in layout)]


def _widest(tables: Iterator[Table], width: int | None) -> Table:
    """The first for which there is room; the last where there is for none."""
    from stepbench.report.text import width_of

    for table in tables:
        if width is None or width_of(table) <= width:
            break
    return table


def _table(
    title: str,
    shown: Sequence[CaseSummary],
    cases: Sequence[CaseSummary],
    layout: Layout,
    failed: str,
    said: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """A row for each case shown, named as one of all ``cases``, failed ones in red."""
    return Table(
        title,
        [Head("case", prose=True), *(column.head for column in layout)],
        [[Cell(label(case, cases)), *cells(case, layout, failed)] for case in shown],
        styles={number: "red" for number, case in enumerate(shown) if case.status is Status.FAILED},
        notes=said or {},
    )


def cells(case: CaseSummary, layout: Layout, failed: str = FAILED) -> list[Cell]:
    """The cells of a case; of a failed one the first says that it failed, and the others are empty."""
    if case.status is Status.OK:
        return [column.cell(case) for column in layout]
    why = Cell(f"{failed}{case.failure.kind}", tone="bad") if case.failure else Cell("not measured", tone="quiet")
    return [why, *[Cell("")] * (len(layout) - 1)][: len(layout)]


def _title(cases: Sequence[CaseSummary]) -> str:
    """What all cases of a table share."""
    batch_sizes = sorted({case.batch_size for case in cases})
    batch = f"batch size {batch_sizes[0]}" if len(batch_sizes) == 1 else "batch sizes as in the rows"
    return f"{cases[0].workload} on {cases[0].device}, {batch}"


def notes(cases: Sequence[CaseSummary]) -> dict[str, list[str]]:
    """Each distinct warning or failure once, with the labels of the cases that it is about."""
    about: dict[str, list[str]] = {}
    for case in cases:
        failure = [failure_of(case)] if case.status is Status.FAILED else []
        for text in (*failure, *_doubts(case), *_unpaired(case), *case.warnings):
            about.setdefault(formats.plain(text), []).append(label(case, cases))
    return about


def _doubts(case: CaseSummary) -> list[str]:
    verdict = case.equivalence.verdict
    if verdict is Verdict.EQUIVALENT or not case.step_time_s:  # Or the reasons have a column of their own.
        return []
    return [f"converges {verdict.replace('_', ' ')}: {reason}" for reason in case.equivalence.why]


def _unpaired(case: CaseSummary) -> list[str]:
    if case.step_time_s is None or case.speedup is not None:
        return []
    return ["no speed-up, as eager/float32, which they are against, has no time here"]


def failure_of(case: CaseSummary) -> str:
    """Why a case has no number."""
    if case.failure is None:
        return "not measured yet"
    return f"{case.failure.kind}: {case.failure.message}"
