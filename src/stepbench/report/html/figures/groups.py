"""The cases that figures show together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepbench.records.cases import Device
from stepbench.records.run import Attainable, Measurement
from stepbench.records.store import Run, slug
from stepbench.report import case_tables, columns
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures.canvas import shortened
from stepbench.report.html.figures.plot import MOST_ROWS
from stepbench.report.summary import Summary

LONGEST_TITLE = 80
"""Of a group; the verdict and the table have all of a long name."""
MOST_GROUPS = 3
"""Whose figures a page holds: with more it would take long to write, and longer to read."""


@dataclass(frozen=True)
class CaseGroup:
    """The cases of one workload on one device, which figures show together."""

    name: str
    """Distinct, and fit for a file's name."""
    title: str
    cases: Sequence[CaseSummary]
    measurements: Mapping[str, Measurement]
    """By the case's id."""
    attainable: Attainable | None = None
    """What their device attained in the run, if that was measured."""

    def label(self, case: CaseSummary) -> str:
        """What tells a case from the others of the group."""
        return columns.label(case, self.cases)

    def shown(self, cases: Iterable[CaseSummary]) -> list[CaseSummary]:
        """The first of ``cases``, and the references among them."""
        wanted = list(cases)
        first = wanted[:MOST_ROWS]
        return [*first, *(case for case in wanted[MOST_ROWS:] if columns.is_reference(case))][: 2 * MOST_ROWS]

    def left_out(self, cases: Iterable[CaseSummary]) -> str:
        """A sentence on those of ``cases`` that :meth:`shown` leaves out, if any."""
        wanted = list(cases)
        shown = len(self.shown(wanted))
        return f" The fastest {shown} of {len(wanted)} are shown." if shown < len(wanted) else ""


def groups(run: Run, summary: Summary) -> list[CaseGroup]:
    """The cases of each workload on each device, of the first few such."""
    measurements = {measurement.case.id: measurement for measurement in run.measurements}
    attainable = {found.device: found for found in run.attainable}
    return [
        CaseGroup(
            slug(f"{cases[0].workload}/{cases[0].device}"),
            shortened(title, LONGEST_TITLE),
            cases,
            {case.id: measurements[case.id] for case in cases},
            attainable.get(Device(cases[0].device)),
        )
        for title, cases in case_tables.groups(summary.cases)[:MOST_GROUPS]
    ]
