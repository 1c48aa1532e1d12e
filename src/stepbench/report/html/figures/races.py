"""A race over time: the interval of each candidate against the default, and when it left."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stepbench.judge.statistics import Estimate
from stepbench.report import formats
from stepbench.report.html.figures.canvas import (
    BLUE,
    CHARACTER,
    GREEN,
    GREY,
    INK,
    PX,
    add_axes,
    is_narrow,
    legend,
    legend_height,
    linear_axis,
    log_axis,
    row_chart,
    shortened,
)
from stepbench.report.html.figures.labels import name_points
from stepbench.report.html.figures.plot import MOST_ROWS, Plot
from stepbench.report.html.figures.speedups import bounds_of

BAR = 18.0
HEIGHT = 320.0
LEFT, RIGHT, BOTTOM = 64.0, 14.0, 44.0
SHAPES = ("o", "s", "^", "D", "v")
FARTHEST = 4
"""Times the time of the fastest: what took longer is not drawn over time."""
MOST_NAMED = 6
"""Of those still racing, beside their lines."""


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
    course: Sequence[tuple[float, float]] = ()
    """Seconds since the race began and the speed-up as it looked then, after each of its heats."""

    @property
    def colour(self) -> str:
        """Green for the winner, blue for others that are still racing, grey for those that left."""
        return GREEN if self.is_winner else BLUE if self.left_s is None else GREY


def race_figure(runners: Sequence[Runner], default: str) -> list[Plot]:
    """How fast each runner is, and how that came to be known; nothing if there are no runners."""
    if not runners:
        return []
    return [_standing(runners, default), _over_time(runners, default)]


def _standing(runners: Sequence[Runner], default: str) -> Plot:
    shown = runners[:MOST_ROWS]
    few = f" The first {len(shown)} of {len(runners)} are shown." if len(shown) < len(runners) else ""
    heads = ("candidate", f"times as fast as {default}", "heats", "left after")
    return Plot(
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


def _over_time(runners: Sequence[Runner], default: str) -> Plot:
    racing = sum(one.left_s is None for one in runners)
    least = max((speed for one in runners for _, speed in one.course), default=1.0) / FARTHEST
    near = [one for one in runners if one.course and one.course[-1][1] >= least]
    return Plot(
        name="race-over-time",
        title="The race over time",
        caption=f"How many times as fast as {default} each candidate looked after each of its heats. A line ends where "
        "its candidate left, in grey, or was not run any more; changes of a later stage begin later. What took more"
        f" than {FARTHEST} times as long as the fastest is in the table only.",
        alternative=f"{len(runners)} candidates, of which {racing} were still racing at the end.",
        heads=("candidate", "after", f"times as fast as {default}"),
        rows=[
            (one.label, formats.seconds(seconds), f"{formats.number(speed)}×")
            for one in runners
            for seconds, speed in one.course
        ],
        draw=functools.partial(_draw_courses, near, default),
    )


def _draw_courses(runners: Sequence[Runner], default: str, width: float) -> Figure:
    named = [one for one in runners if one.left_s is None and one.course][:MOST_NAMED]
    narrow = is_narrow(width)
    names = [one.label for one in named]
    above = legend_height(names, width) if narrow and names else 8.0
    labels = 0.0 if narrow else 30 + CHARACTER * max((len(shortened(name)) for name in names), default=0)
    figure = Figure((width * PX, (above + HEIGHT) * PX), dpi=1 / PX)
    height = HEIGHT - BOTTOM
    axes = add_axes(figure, LEFT, above, width - LEFT - RIGHT - labels, height)
    for number, one in enumerate(reversed(runners)):
        if one.course:
            xs, ys = zip(*one.course, strict=True)
            shape = SHAPES[number % len(SHAPES)]
            axes.plot(xs, ys, marker=shape, markersize=5, linewidth=1.6, color=one.colour)
    points = [point for one in runners for point in one.course]
    linear_axis(axes, 0.0, max((seconds for seconds, _ in points), default=1.0), "seconds since the race began")
    log_axis(axes, [1.0, *(speed for _, speed in points)], f"times as fast as {default}", "×", vertical=True)
    if narrow:
        legend(figure, [Line2D([], [], color=one.colour) for one in named], names, width)
    else:
        name_points(axes, [(one.label, *one.course[-1]) for one in named], height)
    return figure


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
        bounds += [bound for bound in (low, high) if 0 < bound < math.inf]
        chart.axes.plot([low, high], [y, y], color=one.colour, linewidth=3, solid_capstyle="butt")
        chart.axes.plot([one.speedup.value], [y], "o", markersize=8, color=one.colour)
    chart.axes.axvline(1, color=INK, linewidth=1)
    log_axis(chart.axes, bounds, f"times as fast as {default} (logarithmic)", "×")
    return chart.figure
