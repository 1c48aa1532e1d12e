"""The tables of cases: all that was measured, the verdicts on convergence, and what was attained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepbench.judge.statistics import Estimate
from stepbench.judge.training import Verdict
from stepbench.report import case_tables, columns, formats
from stepbench.report.blocks import Cell, Head, Table
from stepbench.report.case_summary import CaseSummary, Status
from stepbench.report.columns import Column, estimates, figures, label, numbers, value
from stepbench.report.html.view import Note

CASE = Head("case", prose=True)


def _paid_back(head: str, of: Callable[[CaseSummary], Estimate | None]) -> Column:
    def write(case: CaseSummary) -> str:
        slower = case.epoch_s and case.speedup and case.break_even_steps is None
        if of(case) is None and slower and not columns.is_reference(case):
            return "never"
        return formats.open_estimate(of(case))

    return figures(head, write, lambda case: value(of(case)))


EFFICIENCY = (
    numbers("GFLOP a step", lambda case: case.flops_per_step, formats.optional, 1 / columns.GIGA),
    numbers("GB a step", lambda case: case.bytes_per_step, formats.optional, 1 / columns.GIGA),
    numbers("of attainable FLOP/s", lambda case: case.flops_utilization, formats.share),
    estimates("s an epoch", lambda case: case.epoch_s),
    numbers("compilation, s", lambda case: case.compile_s, lambda found: formats.number(found) if found else "–"),
    _paid_back("first call paid back after, steps", lambda case: case.break_even),
    _paid_back("… epochs", lambda case: case.break_even_epochs),
    _paid_back("… s", lambda case: case.break_even_s),
    estimates("J per 1000 examples", lambda case: case.energy_per_1000_examples_j),
)
"""What is shown where it is known of any case."""


def cases_table(cases: Sequence[CaseSummary]) -> Table:
    """Everything of every case, to be sorted and filtered."""
    places = _places(cases)
    heads = [CASE, *(Head(name, prose=True) for name, _ in places)]
    heads += [Head(column.head.text, prose=column is columns.CONVERGENCE) for column in columns.FULL]
    rows = [
        [
            Cell(label(case, cases)),
            *(Cell(read(case)) for _, read in places),
            *case_tables.cells(case, columns.FULL),
        ]
        for case in cases
    ]
    title = "All cases, fastest first"
    return Table(title, heads, rows, name="cases-table", sortable=True, filterable=len(cases) > 1)


def _places(cases: Sequence[CaseSummary]) -> list[tuple[str, Callable[[CaseSummary], str]]]:
    """What else than the case's label tells the cases of a run apart."""
    found: list[tuple[str, Callable[[CaseSummary], str]]] = [
        ("workload", lambda case: case.workload),
        ("device", lambda case: case.device),
    ]
    return [(name, read) for name, read in found if len({read(case) for case in cases}) > 1]


def convergence_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """Verdicts with their reasons, if any case was judged or could not be."""
    rows = [
        [Cell(label(case, cases)), columns.CONVERGENCE.cell(case), Cell("; ".join(case.equivalence.why))]
        for case in cases
        if case.equivalence.why or case.equivalence.verdict is not Verdict.NOT_CHECKED
    ]
    heads = [CASE, *(Head(text, prose=True) for text in ("converges", "because"))]
    return Table(f"{title}: verdicts on convergence", heads, rows, name=name, sortable=True) if rows else None


def profile_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """Milliseconds in each part of the step, if there are traces."""
    caption = f"{title}: milliseconds of a step by part, and by how much the profiler prolonged it"
    traced = [case for case in cases if case.profile]
    return _sorted_table(name, caption, traced, cases, columns.PROFILED_FIGURES)


def efficiency_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """What was attained, if it is known of any case."""
    if not any(case.flops_per_step or case.energy_per_1000_examples_j for case in cases):
        return None
    known = [column for column in EFFICIENCY if any(column.read(case) is not None for case in cases)]
    measured = [case for case in cases if case.status is Status.OK]
    return _sorted_table(name, f"{title}: efficiency", measured, cases, known)


def _sorted_table(
    name: str, title: str, shown: Sequence[CaseSummary], cases: Sequence[CaseSummary], layout: Sequence[Column]
) -> Table | None:
    """A row for each case shown, named as one of all ``cases``; none without rows or columns."""
    rows = [[Cell(label(case, cases)), *(column.cell(case) for column in layout)] for case in shown]
    heads = [CASE, *(column.head for column in layout)]
    return Table(title, heads, rows, name=name, sortable=True) if rows and layout else None


def notes(cases: Sequence[CaseSummary]) -> list[Note]:
    """Failures first, then each distinct warning once."""
    failed = {label(case, cases) for case in cases if case.status is Status.FAILED}
    found = [Note(text, labels, failed.issuperset(labels)) for text, labels in case_tables.notes(cases).items()]
    return sorted(found, key=lambda note: not note.is_failure)
