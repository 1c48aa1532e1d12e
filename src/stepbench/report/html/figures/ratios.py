"""How many times longer a step takes on one side than on the other, against the threshold."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from stepbench.judge.statistics import Estimate
from stepbench.report import formats
from stepbench.report.html.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    SMALL,
    VERMILLION,
    log_axis,
    row_chart,
)
from stepbench.report.html.figures.plot import MOST_ROWS, Plot
from stepbench.report.html.figures.speedups import bounds_of

BAR = 22.0
LOOKS = {
    "regression": (VERMILLION, "^"),
    "broken": (VERMILLION, "X"),
    "missing": (VERMILLION, "X"),
    "improved": (GREEN, "v"),
    "pass": (BLUE, "o"),
}
"""The colour and shape of each verdict."""
UNDECIDED = (GREY, "s")


@dataclass(frozen=True)
class RatioRow:
    """One case of the two sides."""

    label: str
    verdict: str
    ratio: Estimate
    pairs: Sequence[float] = ()
    """The ratio of each pair of processes."""


def ratios(rows: Sequence[RatioRow], threshold: float, sides: tuple[str, str]) -> list[Plot]:
    """The figure, if any case was measured on both sides.

    Args:
        rows: the cases.
        threshold: the slowdown that matters, as a share.
        sides: what the step time is of, and what it is divided by.
    """
    if not rows:
        return []
    ratio = " / ".join(sides)
    few = f" The first {MOST_ROWS} of {len(rows)} are shown." if len(rows) > MOST_ROWS else ""
    pairs = " Small points are single pairs of processes." if any(row.pairs for row in rows) else ""
    plot = Plot(
        name="ratios",
        title=f"Step time, {ratio}",
        caption=f"Left of 1 {sides[0]} is faster, right of it slower. The point is the estimate, the line its 95 % "
        f"interval, the dashed line the threshold of {threshold:.1%}. Shapes and colours stand for verdicts: a "
        f"triangle up is a regression, one down an improvement, a circle a pass, a square undecided.{pairs}{few}",
        alternative=f"Step time {ratio}. "
        + "; ".join(f"{row.label} {formats.ratio(row.ratio)}, {row.verdict}" for row in rows[:MOST_ROWS])
        + ".",
        heads=("case", ratio, "verdict", *(["each pair"] if pairs else [])),
        rows=[(row.label, formats.ratio(row.ratio), row.verdict, *([_pairs(row)] if pairs else [])) for row in rows],
        draw=functools.partial(_draw, rows[:MOST_ROWS], threshold, f"step time, {ratio} (logarithmic)"),
    )
    return [plot]


def _pairs(row: RatioRow) -> str:
    return ", ".join(f"{pair:.3f}" for pair in row.pairs)


def _draw(rows: Sequence[RatioRow], threshold: float, axis: str, width: float) -> Figure:
    above = 18.0
    chart = row_chart(width, [(row.label, formats.ratio(row.ratio)) for row in rows], BAR, above=above)
    bounds = [1 / (1 + threshold), 1.0, 1 + threshold]
    for row, y in zip(rows, chart.middles, strict=True):
        colour, shape = LOOKS.get(row.verdict, UNDECIDED)
        low, high = bounds_of(row.ratio)
        bounds += [low, high, *row.pairs]
        chart.axes.plot([low, high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
        chart.axes.plot([row.ratio.value], [y], shape, markersize=9, color=colour)
        chart.axes.plot(
            row.pairs, [y + BAR / 2 - 2] * len(row.pairs), "o", markersize=3, color=MUTED, markeredgewidth=0
        )
    chart.axes.axvline(1, color=INK, linewidth=1)
    chart.axes.axvline(1 + threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    place: dict[str, Any] = {"transform": chart.axes.get_xaxis_transform(), "ha": "left", "va": "bottom"}
    chart.axes.text(1 + threshold, 1.0, f" +{threshold:.1%}", fontsize=SMALL, color=MUTED, **place)
    log_axis(chart.axes, bounds, axis)
    return chart.figure
