"""How throughput grows with the batch size, and with the steps in one call, where several were run."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator

from stepbench.report import formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures.canvas import (
    CHARACTER,
    PX,
    add_axes,
    is_narrow,
    legend,
    legend_height,
    log_axis,
    shortened,
)
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.labels import name_points
from stepbench.report.html.figures.marks import Mark, marks
from stepbench.report.html.figures.plot import Plot
from stepbench.report.html.figures.speedups import bounds_of

HEIGHT = 320.0
LEFT, RIGHT, BOTTOM = 64.0, 14.0, 44.0
LINE_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
MOST_LINES = len(LINE_SHAPES)


@dataclass(frozen=True)
class Axis:
    """What may differ between cases of one variant."""

    name: str
    """Of the figure's file."""
    what: str
    read: Callable[[CaseSummary], int]
    other: Callable[[CaseSummary], int]
    """What else may differ, which lines are told apart by."""
    letter: str
    """Before that, in a line's label."""


AXES = (
    Axis("batch-size", "batch size", lambda case: case.batch_size, lambda case: case.steps_per_call, "k"),
    Axis("steps-per-call", "steps per call", lambda case: case.steps_per_call, lambda case: case.batch_size, "b"),
)


@dataclass(frozen=True)
class ScalingLine:
    """Cases that differ in one number only, which the x axis shows."""

    label: str
    mark: Mark
    cases: Sequence[CaseSummary]
    """In the order of that number."""


def scaling(group: CaseGroup) -> list[Plot]:
    """A figure for each axis along which there are several cases."""
    return [_plot(group, axis, lines) for axis in AXES if (lines := _lines(group, axis))]


def _plot(group: CaseGroup, axis: Axis, lines: Sequence[ScalingLine]) -> Plot:
    shown = lines[:MOST_LINES]
    left_out = f" {len(shown)} of {len(lines)} lines are shown." if len(shown) < len(lines) else ""
    spoken = "; ".join(f"{line.label} {_spoken(line, axis)}" for line in shown)
    points = [(line.label, case) for line in lines for case in line.cases]
    return Plot(
        name=f"{axis.name}-{group.name}",
        title=f"Throughput by {axis.what}: {group.title}",
        caption="Higher is faster. A line that goes flat has nothing more to gain; bars are 95 % intervals. "
        f"Colours stand for precisions.{left_out}",
        alternative=f"Examples a second by {axis.what}. {spoken}.",
        heads=("variant", axis.what, "examples a second"),
        rows=[(label, str(axis.read(case)), formats.estimate(case.throughput)) for label, case in points],
        draw=functools.partial(_draw, shown, axis),
    )


def _lines(group: CaseGroup, axis: Axis) -> list[ScalingLine]:
    """Lines of two points or more, the fastest first; each has a shape of its own."""
    timed = [case for case in group.cases if case.throughput and not case.settings]
    colours, shapes = marks(group.cases), itertools.cycle(LINE_SHAPES)
    several = len({axis.other(case) for case in timed}) > 1
    members: dict[tuple[str, str, int], list[CaseSummary]] = {}
    for case in timed:
        members.setdefault((case.execution, case.precision, axis.other(case)), []).append(case)
    return [
        ScalingLine(
            f"{execution}/{precision}{f'/{axis.letter}{rest}' if several else ''}",
            Mark(colours[cases[0].id].colour, next(shapes)),
            sorted(cases, key=axis.read),
        )
        for (execution, precision, rest), cases in members.items()
        if len({axis.read(case) for case in cases}) > 1
    ]


def _spoken(line: ScalingLine, axis: Axis) -> str:
    return ", ".join(f"{formats.estimate(case.throughput, interval=False)} at {axis.read(case)}" for case in line.cases)


def _draw(lines: Sequence[ScalingLine], axis: Axis, width: float) -> Figure:
    narrow = is_narrow(width)
    names = [line.label for line in lines]
    above = legend_height(names, width) if narrow else 8.0
    labels = 0.0 if narrow else 30 + CHARACTER * max(len(shortened(name)) for name in names)
    figure = Figure((width * PX, (above + HEIGHT) * PX), dpi=1 / PX)
    height = HEIGHT - BOTTOM
    axes = add_axes(figure, LEFT, above, width - LEFT - RIGHT - labels, height)
    for line in lines:
        _draw_line(axes, line, axis)
    _scale(axes, [case for line in lines for case in line.cases], axis)
    if narrow:
        legend(figure, [Line2D([], [], marker=line.mark.shape, color=line.mark.colour) for line in lines], names, width)
    else:
        ends = [(line.label, float(axis.read(line.cases[-1])), _throughput(line.cases[-1])) for line in lines]
        name_points(axes, ends, height)
    return figure


def _scale(axes: Axes, cases: Sequence[CaseSummary], axis: Axis) -> None:
    """Logarithmic axes, with ticks at the numbers that were measured."""
    bounds = [bound for case in cases if case.throughput for bound in bounds_of(case.throughput)]
    numbers = sorted({axis.read(case) for case in cases})
    log_axis(axes, numbers, f"{axis.what} (logarithmic)")
    log_axis(axes, bounds, "examples a second (logarithmic)", vertical=True)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_major_formatter(FixedFormatter([str(number) for number in numbers]))


def _draw_line(axes: Axes, line: ScalingLine, axis: Axis) -> None:
    xs, ys = [axis.read(case) for case in line.cases], [_throughput(case) for case in line.cases]
    axes.plot(xs, ys, marker=line.mark.shape, markersize=7, color=line.mark.colour, linewidth=1.6)
    for x, case in zip(xs, line.cases, strict=True):
        if case.throughput:
            axes.plot([x, x], bounds_of(case.throughput), color=line.mark.colour, linewidth=3, solid_capstyle="butt")


def _throughput(case: CaseSummary) -> float:
    assert case.throughput, "asked only of cases that were timed"
    return case.throughput.value
