"""The peak of memory of each case, by phase where that was seen."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stepbench.report import formats
from stepbench.report.html.figures.canvas import INK, SURFACE, legend, legend_height, linear_axis, row_chart
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.marks import marks
from stepbench.report.html.figures.plot import Plot

BAR = 18.0
MEBIBYTE = 2**20
SHAPES = ("o", "s", "^", "D", "v")
"""Of the phases, in their order."""
LOOK: dict[str, Any] = {"markersize": 7, "color": INK, "mfc": SURFACE, "linestyle": ""}


@dataclass(frozen=True)
class MemoryRow:
    """The memory of one case, or of one side of it, in bytes."""

    label: str
    colour: str
    peak: int
    phases: Mapping[str, int] = field(default_factory=dict)


def memory(group: CaseGroup) -> list[Plot]:
    """The figure, if the memory of any case is known."""
    mark_of = marks(group.cases)
    having = [case for case in group.cases if case.peak_memory_bytes is not None]
    rows = {
        case.id: MemoryRow(
            group.label(case), mark_of[case.id].colour, case.peak_memory_bytes or 0, case.memory_by_phase
        )
        for case in having
    }
    if not rows:
        return []
    shown = [rows[case.id] for case in group.shown(having)]
    title = f"Peak memory: {group.title}"
    plot = plot_of(f"memory-{group.name}", title, list(rows.values()), shown, group.left_out(having))
    return [plot]


def plot_of(name: str, title: str, rows: Sequence[MemoryRow], shown: Sequence[MemoryRow], left_out: str = "") -> Plot:
    """The figure of ``shown``, with the data of ``rows``."""
    phases = list(dict.fromkeys(phase for row in rows for phase in row.phases))[: len(SHAPES)]
    by_phase = " Points mark the peak in each phase of a process." if phases else ""
    return Plot(
        name=name,
        title=title,
        caption="Shorter is leaner. On an accelerator it is the device's memory; on a CPU, what the process holds "
        f"above what it held before the model was built.{by_phase}{left_out}",
        alternative=f"Peaks of memory. {'; '.join(f'{row.label} {formats.size(row.peak)}' for row in shown)}.",
        heads=("case", "peak", *phases),
        rows=[
            (row.label, formats.size(row.peak), *(formats.size(row.phases.get(phase)) for phase in phases))
            for row in rows
        ],
        draw=functools.partial(_draw, shown, phases),
    )


def _draw(rows: Sequence[MemoryRow], phases: Sequence[str], width: float) -> Figure:
    above = legend_height(phases, width) if phases else 0.0
    chart = row_chart(width, [(row.label, formats.size(row.peak)) for row in rows], BAR, above=above)
    shapes = dict(zip(phases, SHAPES, strict=False))
    for row, y in zip(rows, chart.middles, strict=True):
        chart.axes.barh(y, row.peak / MEBIBYTE, BAR, color=row.colour, alpha=0.35 if phases else 0.85, linewidth=0)
        for phase, shape in shapes.items():
            if phase in row.phases:
                chart.axes.plot([row.phases[phase] / MEBIBYTE], [y], marker=shape, **LOOK)
    largest = max(max(row.peak, *row.phases.values()) if row.phases else row.peak for row in rows)
    linear_axis(chart.axes, 0, 1.03 * largest / MEBIBYTE, "MiB")
    legend(chart.figure, [Line2D([], [], marker=shape, **LOOK) for shape in shapes.values()], phases, width)
    return chart.figure
