"""A race over time: the interval of each candidate against the default, and when it left."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from stepbench.judge.statistics import Estimate
from stepbench.report import formats
from stepbench.report.html.figures.canvas import BLUE, GREEN, GREY, INK, log_axis, row_chart
from stepbench.report.html.figures.plot import MOST_ROWS, Plot
from stepbench.report.html.figures.speedups import bounds_of

BAR = 18.0


@dataclass(frozen=True)
class Runner:
    """A candidate in the figure."""

    label: str
    speedup: Estimate
    """Against the default, from the heats of the race."""
    heats: int
    left_s: float | None
    """When it left; None if it is still in the race."""
    is_winner: bool


def race_figure(runners: Sequence[Runner], default: str) -> list[Plot]:
    """The figure of a race, if it has any runners."""
    if not runners:
        return []
    shown = runners[:MOST_ROWS]
    few = f" The first {len(shown)} of {len(runners)} are shown." if len(shown) < len(runners) else ""
    heads = ("candidate", f"times as fast as {default}", "heats", "left after")
    plot = Plot(
        name="race",
        title="The race",
        caption=f"Farther right is faster than {default}, what there is. The line is the 95 % interval from the heats "
        "of the race, each a fresh process; without one there was a single heat or two. Grey candidates were shown to "
        f"be slower and left; the winner is green.{few}",
        alternative="; ".join(f"{one.label} {_text(one)}" for one in shown),
        heads=heads,
        rows=[(one.label, formats.estimate(one.speedup, unit="×"), str(one.heats), _left(one)) for one in runners],
        draw=functools.partial(_draw, shown, default),
    )
    return [plot]


def _left(runner: Runner) -> str:
    return formats.ABSENT if runner.left_s is None else formats.seconds(runner.left_s)


def _text(runner: Runner) -> str:
    left = "" if runner.left_s is None else f", left after {formats.seconds(runner.left_s)}"
    return f"{formats.estimate(runner.speedup, unit='×', interval=False)}{left}"


def _draw(runners: Sequence[Runner], default: str, width: float) -> Figure:
    chart = row_chart(width, [(one.label, _text(one)) for one in runners], BAR)
    bounds = [1.0]
    for one, y in zip(runners, chart.middles, strict=True):
        low, high = bounds_of(one.speedup)
        colour = GREEN if one.is_winner else BLUE if one.left_s is None else GREY
        bounds += [bound for bound in (low, high) if 0 < bound < math.inf]
        chart.axes.plot([low, high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
        chart.axes.plot([one.speedup.value], [y], "o", markersize=8, color=colour)
    chart.axes.axvline(1, color=INK, linewidth=1)
    log_axis(chart.axes, bounds, f"times as fast as {default} (logarithmic)", "×")
    return chart.figure
