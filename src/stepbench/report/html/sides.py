"""Two runs side by side: figures and tables in which each case has a row for either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures import memory, step_times, work
from stepbench.report.html.figures.canvas import BLUE, GREY
from stepbench.report.html.figures.plot import MOST_ROWS, Plot
from stepbench.report.summary import Summary, summarize


@dataclass(frozen=True)
class RunSide:
    """One of the two runs."""

    name: str
    """Old or new, or base or head."""
    colour: str
    colour_name: str
    run: Run
    summary: Summary

    @classmethod
    def old(cls, run: Run) -> Self:
        """What the other is held against."""
        return cls("old", GREY, "grey", run, summarize(run))

    @classmethod
    def new(cls, run: Run) -> Self:
        """What is judged."""
        return cls("new", BLUE, "blue", run, summarize(run))

    def case(self, case_id: str) -> CaseSummary | None:
        """Its summary of a case, if it has the case."""
        return next((case for case in self.summary.cases if case.id == case_id), None)

    def measurement(self, case_id: str) -> Measurement | None:
        """What it measured of a case, if it has the case."""
        return next((found for found in self.run.measurements if found.case.id == case_id), None)


def step_time_plots(sides: Sequence[RunSide], names: Mapping[str, str]) -> list[Plot]:
    """Every block of both sides, if any was timed."""
    found = [
        step_times.row_of(row.label, row.side.colour, row.case.step_time_s, row.measurement)
        for row in _rows(sides, names)
        if row.case.step_time_s
    ]
    title = "Step time of every block, both sides"
    return [step_times.plot_of("step-times", title, found, found[:MOST_ROWS], _more(sides, found))] if found else []


def work_plots(sides: Sequence[RunSide], names: Mapping[str, str]) -> list[Plot]:
    """Where the time of a step goes on both sides, if there are traces."""
    found = [work.Bar(row.label, row.case.profile) for row in _rows(sides, names) if row.case.profile]
    title = "Time by category of work, both sides"
    return [work.plot_of("work", title, found, found[:MOST_ROWS], _few(found))] if found else []


def memory_plots(sides: Sequence[RunSide], names: Mapping[str, str]) -> list[Plot]:
    """The peaks of memory of both sides, where they are known."""
    found = [
        memory.MemoryRow(row.label, row.side.colour, row.case.peak_memory_bytes, row.case.memory_by_phase)
        for row in _rows(sides, names)
        if row.case.peak_memory_bytes is not None
    ]
    title = "Peak memory, both sides"
    return [memory.plot_of("memory", title, found, found[:MOST_ROWS], _more(sides, found))] if found else []


class _SideRow(NamedTuple):
    """One side of a case."""

    label: str
    side: RunSide
    case: CaseSummary
    measurement: Measurement


def _rows(sides: Sequence[RunSide], names: Mapping[str, str]) -> list[_SideRow]:
    return [
        _SideRow(f"{label}, {side.name}", side, case, measurement)
        for case_id, label in names.items()
        for side in sides
        if (case := side.case(case_id)) and (measurement := side.measurement(case_id))
    ]


def _more(sides: Sequence[RunSide], rows: Sequence[object]) -> str:
    return f" {', '.join(f'{side.name} is {side.colour_name}' for side in sides).capitalize()}.{_few(rows)}"


def _few(rows: Sequence[object]) -> str:
    return f" The first {MOST_ROWS} of {len(rows)} rows are shown." if len(rows) > MOST_ROWS else ""
