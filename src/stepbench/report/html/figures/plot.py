"""A figure with all that a page and its readers need of it, and the cases that figures are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepbench.records.run import Measurement
from stepbench.report import columns
from stepbench.report.case_summary import CaseSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20
"""In one figure; the table of cases has all."""


@dataclass(frozen=True)
class Plot:
    """One figure."""

    name: str
    """Of its file; distinct within a page."""
    title: str
    caption: str
    """What to see in it; sentences."""
    alternative: str
    """What it shows, for those who cannot see it; sentences."""
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """Its data as a table."""
    draw: Callable[[float], Figure]
    """Draws it so many pixels wide."""


@dataclass(frozen=True)
class CaseGroup:
    """The cases of one workload on one device, which figures show together."""

    name: str
    """Distinct, and fit for a file's name."""
    title: str
    cases: Sequence[CaseSummary]
    measurements: Mapping[str, Measurement]
    """By the case's id."""

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
