"""Every timed block of every replicate: how the step time is distributed."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stepbench.judge.statistics import Estimate, replicate_logs
from stepbench.records.run import Measurement
from stepbench.report import formats
from stepbench.report.html.figures.canvas import INK, log_axis, row_chart
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.marks import marks
from stepbench.report.html.figures.plot import Plot
from stepbench.report.html.figures.speedups import bounds_of

LANE, TALLEST = 7.0, 48.0
"""The height of a replicate's lane of points, and of all lanes of a row."""
CAPTION = (
    "Farther left is faster. Each point is one timed block, each lane of points one replicate (a fresh process) with "
    "its mean as a tick; the band is the 95 % interval of the case. Lanes that lie apart are processes that differ."
)


@dataclass(frozen=True)
class TimesRow:
    """The blocks of one case, or of one side of it. Times are in milliseconds a step."""

    label: str
    colour: str
    estimate: Estimate
    replicates: Sequence[Sequence[float]]
    means: Sequence[float]


def step_times(group: CaseGroup) -> list[Plot]:
    """The figure, if any case was timed."""
    having = [case for case in group.cases if case.step_time_s]
    if not having:
        return []
    mark_of = marks(group.cases)
    rows = {
        case.id: row_of(group.label(case), mark_of[case.id].colour, case.step_time_s, group.measurements[case.id])
        for case in having
        if case.step_time_s
    }
    shown = [rows[case.id] for case in group.shown(having)]
    title = f"Step time of every block: {group.title}"
    plot = plot_of(f"step-times-{group.name}", title, list(rows.values()), shown, group.left_out(having))
    return [plot]


def row_of(label: str, colour: str, estimate: Estimate, measurement: Measurement) -> TimesRow:
    """The blocks of a case that was timed."""
    timed = [replicate.blocks for replicate in measurement.replicates if replicate.blocks]
    return TimesRow(
        label,
        colour,
        estimate,
        [[1e3 * block.seconds / block.steps for block in blocks] for blocks in timed],
        [1e3 * math.exp(log) for log in replicate_logs(measurement)],
    )


def plot_of(
    name: str,
    title: str,
    rows: Sequence[TimesRow],
    shown: Sequence[TimesRow],
    left_out: str = "",
    caption: str = CAPTION,
) -> Plot:
    """The figure of ``shown``, with the data of ``rows``."""
    spoken = "; ".join(f"{row.label} {_text(row)} ms" for row in shown)
    return Plot(
        name=name,
        title=title,
        caption=caption + left_out,
        alternative=f"Milliseconds a step, by replicate. {spoken}.",
        heads=("case", "ms a step", "each replicate", "fastest block", "slowest block", "blocks"),
        rows=[_table_row(row) for row in rows],
        draw=functools.partial(_draw, shown),
    )


def _text(row: TimesRow) -> str:
    return formats.estimate(row.estimate, scale=1e3)


def _table_row(row: TimesRow) -> tuple[str, ...]:
    blocks = [block for replicate in row.replicates for block in replicate]
    numbers = map(formats.number, (min(blocks), max(blocks)))
    return (row.label, _text(row), ", ".join(map(formats.number, row.means)), *numbers, str(len(blocks)))


def _draw(rows: Sequence[TimesRow], width: float) -> Figure:
    lanes = max(len(row.replicates) for row in rows)
    height = min(LANE * lanes + 8, TALLEST)
    chart = row_chart(width, [(row.label, _text(row)) for row in rows], height)
    places = [middle - height / 2 for middle in chart.middles]
    for row, top in zip(rows, places, strict=True):
        _draw_estimate(chart.axes, row, top, height)
    _draw_blocks(chart.axes, rows, places, height)
    everything = [block for row in rows for replicate in row.replicates for block in replicate]
    everything += [1e3 * bound for row in rows for bound in bounds_of(row.estimate)]
    log_axis(chart.axes, everything, "milliseconds a step (logarithmic)")
    return chart.figure


def _draw_estimate(axes: Axes, row: TimesRow, top: float, height: float) -> None:
    low, high = (1e3 * bound for bound in bounds_of(row.estimate))
    axes.add_patch(Rectangle((low, top), high - low, height, facecolor=row.colour, alpha=0.2, linewidth=0))
    axes.plot([1e3 * row.estimate.value] * 2, [top, top + height], color=row.colour, linewidth=1.5)


def _draw_blocks(axes: Axes, rows: Sequence[TimesRow], places: Sequence[float], height: float) -> None:
    """All points of a colour at once, and all ticks at once, which is several times faster than lane by lane."""
    blocks: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    means: list[tuple[float, float]] = []
    for row, top in zip(rows, places, strict=True):
        lane = height / len(row.replicates)
        for number, (replicate, mean) in enumerate(zip(row.replicates, row.means, strict=True)):
            y = top + lane * (number + 0.5)
            blocks[row.colour] += [(block, y) for block in replicate]
            means.append((mean, y))
    for colour, points in blocks.items():
        axes.plot(*zip(*points, strict=True), "o", markersize=3.5, color=colour, markeredgewidth=0, alpha=0.6)
    axes.plot(*zip(*means, strict=True), "|", markersize=8, color=INK, markeredgewidth=1.5)
