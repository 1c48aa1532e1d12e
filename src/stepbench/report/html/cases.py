"""The tables of cases: all that was measured, the verdicts on convergence, and what was attained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stepbench.judge.statistics import Estimate
from stepbench.judge.training import Verdict
from stepbench.report import columns, formats
from stepbench.report.columns import Column
from stepbench.report.html.view import Cell, Head, Note, Table, number_cell
from stepbench.report.summary import CaseSummary, Status

Read = Callable[[CaseSummary], float | None]


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None


KEYS: Mapping[Column, Read] = {
    columns.STEP_TIME: lambda case: _value(case.step_time_s),
    columns.THROUGHPUT: lambda case: _value(case.throughput),
    columns.SPEEDUP: lambda case: _value(case.speedup),
    columns.FIRST_CALL: lambda case: case.first_call_s,
    columns.BREAK_EVEN: lambda case: case.break_even_steps,
    columns.PEAK_MEMORY: lambda case: case.peak_memory_bytes,
    columns.INPUT_WAIT: lambda case: case.input_wait_share,
}
"""What the table is sorted by in columns of figures."""
TONES = {Verdict.EQUIVALENT: "good", Verdict.DIFFERENT: "bad", Verdict.INCONCLUSIVE: "doubtful"}

EFFICIENCY: tuple[tuple[Column, Read], ...] = (
    (
        Column("GFLOP a step", lambda case: _giga(case.flops_per_step)),
        lambda case: case.flops_per_step,
    ),
    (
        Column("GB a step", lambda case: _giga(case.bytes_per_step)),
        lambda case: case.bytes_per_step,
    ),
    (
        Column("of attainable FLOP/s", lambda case: formats.share(case.flops_utilization)),
        lambda case: case.flops_utilization,
    ),
    (
        Column("s an epoch", lambda case: formats.estimate(case.epoch_s)),
        lambda case: _value(case.epoch_s),
    ),
    (
        Column("compilation, s", lambda case: _number(case.compile_s)),
        lambda case: case.compile_s,
    ),
    (
        Column("first call paid back after, steps", lambda case: _pays_back(case, case.break_even)),
        lambda case: _value(case.break_even),
    ),
    (
        Column("… epochs", lambda case: _pays_back(case, case.break_even_epochs)),
        lambda case: _value(case.break_even_epochs),
    ),
    (
        Column("… s", lambda case: _pays_back(case, case.break_even_s)),
        lambda case: _value(case.break_even_s),
    ),
    (
        Column("J per 1000 examples", lambda case: formats.estimate(case.energy_per_1000_examples_j)),
        lambda case: _value(case.energy_per_1000_examples_j),
    ),
)
"""What is shown where it is known of any case."""


def _giga(value: float | None) -> str:
    return formats.ABSENT if value is None else formats.number(value / 1e9)


def _number(value: float | None) -> str:
    return formats.number(value) if value else formats.ABSENT


def _pays_back(case: CaseSummary, found: Estimate | None) -> str:
    slower = case.epoch_s and case.speedup and case.break_even_steps is None
    if found is None and slower and not columns.is_reference(case):
        return "never"
    return formats.open_estimate(found)


def cases_table(cases: Sequence[CaseSummary]) -> Table:
    """Everything of every case, to be sorted and filtered."""
    prose = {columns.CONVERGENCE}
    places = _places(cases)
    heads = [Head("case", prose=True), *(Head(name, prose=True) for name, _ in places)]
    heads += [Head(column.head, prose=column in prose) for column in columns.FULL]
    rows = [
        [
            Cell(columns.label(case, cases)),
            *(Cell(read(case)) for _, read in places),
            *(_cell(column, case) for column in columns.FULL),
        ]
        for case in cases
    ]
    return Table("cases-table", "All cases, fastest first", heads, rows, sortable=True, filterable=len(cases) > 1)


def _places(cases: Sequence[CaseSummary]) -> list[tuple[str, Callable[[CaseSummary], str]]]:
    """What else than the case's label tells the cases of a run apart."""
    found: list[tuple[str, Callable[[CaseSummary], str]]] = [
        ("workload", lambda case: case.workload),
        ("device", lambda case: case.device),
    ]
    return [(name, read) for name, read in found if len({read(case) for case in cases}) > 1]


def _cell(column: Column, case: CaseSummary) -> Cell:
    if case.status is Status.FAILED:
        text = f"failed: {case.failure.kind}" if case.failure else "not measured"
        if column is columns.CONVERGENCE:
            return Cell(text.replace("_", " "), tone="bad" if case.failure else "quiet")
        return Cell(formats.ABSENT, tone="quiet")
    if column is columns.CONVERGENCE:
        return verdict_cell(case)
    read = KEYS.get(column)
    cell = number_cell(column.write(case), read(case) if read else None)
    if column is columns.SPEEDUP and not columns.counts(case):
        return Cell(cell.text, cell.below, cell.key, cell.tone, "does not count, as it converges differently")
    return cell


def verdict_cell(case: CaseSummary) -> Cell:
    """Whether it converges like its reference."""
    return Cell(columns.CONVERGENCE.write(case), tone=TONES.get(case.equivalence.verdict, "quiet"))


def convergence_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """Verdicts with their reasons, if any case was judged or could not be."""
    judged = [case for case in cases if case.equivalence.why or case.equivalence.verdict is not Verdict.NOT_CHECKED]
    if not judged:
        return None
    rows = [
        [Cell(columns.label(case, cases)), verdict_cell(case), Cell("; ".join(case.equivalence.why))] for case in judged
    ]
    heads = [Head(text, prose=True) for text in ("case", "converges", "because")]
    return Table(name, f"{title}: verdicts on convergence", heads, rows, sortable=True)


def profile_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """Milliseconds in each part of the step, if there are traces."""
    traced = [case for case in cases if case.profile]
    if not traced:
        return None
    shown = [column for column in columns.PROFILED if not column.is_prose]  # The figure tells the rest.
    heads = [Head("case", prose=True), *(Head(column.head) for column in shown)]
    rows = [
        [Cell(columns.label(case, cases)), *(_plain_cell(column.write(case)) for column in shown)] for case in traced
    ]
    caption = f"{title}: milliseconds of a step by part, and by how much the profiler prolonged it"
    return Table(name, caption, heads, rows, sortable=True)


def _plain_cell(text: str) -> Cell:
    """A figure that is its own key."""
    try:
        return Cell(text, key=float(text.replace(" ", "").removesuffix("%")))
    except ValueError:
        return Cell(text)


def efficiency_table(name: str, title: str, cases: Sequence[CaseSummary]) -> Table | None:
    """What was attained, if it is known of any case."""
    if not any(case.flops_per_step or case.energy_per_1000_examples_j for case in cases):
        return None
    known = [(column, read) for column, read in EFFICIENCY if any(read(case) is not None for case in cases)]
    if not known:
        return None
    heads = [Head("case", prose=True), *(Head(column.head) for column, _ in known)]
    rows = [
        [Cell(columns.label(case, cases)), *(number_cell(column.write(case), read(case)) for column, read in known)]
        for case in cases
        if case.status is Status.OK
    ]
    return Table(name, f"{title}: efficiency", heads, rows, sortable=True)


def notes(cases: Sequence[CaseSummary]) -> list[Note]:
    """Failures first, then each distinct warning once."""
    failed = {columns.label(case, cases) for case in cases if case.status is Status.FAILED}
    found = [Note(text, labels, failed.issuperset(labels)) for text, labels in columns.notes(cases).items()]
    return sorted(found, key=lambda note: not note.is_failure)
