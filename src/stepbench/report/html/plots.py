"""All figures of a run, by what they are about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stepbench.records.run import Attainable
from stepbench.records.store import Run, slug
from stepbench.report import case_tables
from stepbench.report.html.figures.canvas import shortened
from stepbench.report.html.figures.losses import losses
from stepbench.report.html.figures.memory import memory
from stepbench.report.html.figures.plot import CaseGroup, Plot
from stepbench.report.html.figures.roofline import roofline
from stepbench.report.html.figures.scaling import scaling
from stepbench.report.html.figures.speedups import speedups
from stepbench.report.html.figures.step_times import step_times
from stepbench.report.html.figures.work import work
from stepbench.report.summary import Summary

LONGEST_TITLE = 80
"""Of a group; the verdict and the table have all of a long name."""
MOST_GROUPS = 3
"""Whose figures a page holds: with more it would take long to write, and longer to read."""


@dataclass(frozen=True)
class Plots:
    """The figures of one workload on one device; empty where there is nothing to draw."""

    group: CaseGroup
    speedups: list[Plot]
    step_times: list[Plot]
    losses: list[Plot]
    work: list[Plot]
    efficiency: list[Plot]
    memory: list[Plot]
    scaling: list[Plot]

    def all(self) -> list[Plot]:
        """In the order of the page."""
        parts = (
            *(self.speedups, self.step_times, self.losses, self.work),
            *(self.efficiency, self.memory, self.scaling),
        )
        return [plot for part in parts for plot in part]


def groups(run: Run, summary: Summary) -> list[CaseGroup]:
    """The cases of each workload on each device."""
    measurements = {measurement.case.id: measurement for measurement in run.measurements}
    return [
        CaseGroup(
            slug(f"{cases[0].workload}/{cases[0].device}"),
            shortened(title, LONGEST_TITLE),
            cases,
            {case.id: measurements[case.id] for case in cases},
        )
        for title, cases in case_tables.groups(summary.cases)
    ]


def plots(group: CaseGroup, attainable: Iterable[Attainable]) -> Plots:
    """All figures of one group."""
    roof = next((found for found in attainable if found.device == group.cases[0].device), None)
    return Plots(
        group,
        speedups=_some(speedups(group)),
        step_times=_some(step_times(group)),
        losses=_some(losses(group)),
        work=_some(work(group)),
        efficiency=_some(roofline(group, roof)),
        memory=_some(memory(group)),
        scaling=scaling(group),
    )


def _some(plot: Plot | None) -> list[Plot]:
    return [plot] if plot else []
