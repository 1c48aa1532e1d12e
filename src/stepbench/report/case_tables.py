"""Tables of the cases that share a workload and a device."""

from __future__ import annotations

from collections.abc import Sequence

from stepbench.judge.training import Verdict
from stepbench.report import columns, formats
from stepbench.report.blocks import Cell, Head, Table
from stepbench.report.case_summary import CaseSummary, Status
from stepbench.report.columns import Column, label

Layout = tuple[Column, ...]


def groups(cases: Sequence[CaseSummary]) -> list[tuple[str, list[CaseSummary]]]:
    """The cases of each workload on each device, titled by these."""
    found: dict[str, list[CaseSummary]] = {}
    for case in cases:
        found.setdefault(f"{case.workload} on {case.device}", []).append(case)
    return list(found.items())


def tables(cases: Sequence[CaseSummary], timed: Layout, profiled: Layout, efficient: Layout) -> list[Table]:
    """The tables that there is something to show in; the first has the notes on all cases.

    Args:
        cases: of one group.
        timed: the columns of the main table.
        profiled: of where the time goes.
        efficient: of how close to the limit the cases come.
    """
    title = _title(cases)
    main: Layout = ()
    if any(case.step_time_s or case.status is Status.FAILED for case in cases):
        main = timed
    elif any(case.equivalence.verdict is not Verdict.NOT_CHECKED for case in cases):
        main = columns.VERIFIED
    found = [case_table(title, cases, main)]
    if any(case.flops_per_step for case in cases):
        known = tuple(column for column in efficient if any(map(column.is_filled, cases)))
        found += _filled(f"{title}: how close to the limit", cases, known)
    if any(case.profile for case in cases):
        found += _filled(f"{title}: where a step's milliseconds go", cases, profiled)
    return found


def case_table(title: str, cases: Sequence[CaseSummary], layout: Layout) -> Table:
    """A row a case, failed ones in red, and what is to be noted of them."""
    return Table(
        title,
        [Head("case", prose=True), *(column.head for column in layout)],
        [[Cell(label(case, cases)), *cells(case, layout)] for case in cases],
        styles={number: "red" for number, case in enumerate(cases) if case.status is Status.FAILED},
        notes=notes(cases),
    )


def cells(case: CaseSummary, layout: Layout) -> list[Cell]:
    """The cells of a case; of a failed one the first says that it failed, and the others are empty."""
    if case.status is Status.OK:
        return [column.cell(case) for column in layout]
    failed = Cell(f"failed: {case.failure.kind}", tone="bad") if case.failure else Cell("not measured", tone="quiet")
    return [failed, *[Cell("")] * (len(layout) - 1)][: len(layout)]


def _filled(title: str, cases: Sequence[CaseSummary], layout: Layout) -> list[Table]:
    """A table of the cases that there is anything to show of, if there are columns."""
    rows = [
        [Cell(label(case, cases)), *cells(case, layout)]
        for case in cases
        if any(column.is_filled(case) for column in layout)
    ]
    return [Table(title, [Head("case", prose=True), *(column.head for column in layout)], rows)] if layout else []


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
        for text in (*failure, *_doubts(case), *case.warnings):
            about.setdefault(formats.plain(text), []).append(label(case, cases))
    return about


def _doubts(case: CaseSummary) -> list[str]:
    verdict = case.equivalence.verdict
    if verdict is Verdict.EQUIVALENT or not case.step_time_s:  # Or the reasons have a column of their own.
        return []
    return [f"converges {verdict.replace('_', ' ')}: {reason}" for reason in case.equivalence.why]


def failure_of(case: CaseSummary) -> str:
    """Why a case has no number."""
    if case.failure is None:
        return "not measured yet"
    return f"{case.failure.kind}: {case.failure.message}"
