"""What each case attains of what the device can attain: the roofline model.

Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepbench.records.run import Attainable
from stepbench.report import formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures.canvas import (
    CHARACTER,
    INK,
    PX,
    SMALL,
    SURFACE,
    add_axes,
    is_narrow,
    log_axis,
    shortened,
)
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.labels import name_points, share
from stepbench.report.html.figures.marks import KEY, Mark, marks
from stepbench.report.html.figures.plot import Plot

GIGA = 1e9
HEIGHT = 420.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 10.0, 10.0, 44.0


@dataclass(frozen=True)
class RooflinePoint:
    """One case: operations a byte, and giga-operations a second."""

    label: str
    mark: Mark
    intensity: float
    rate: float


def roofline(group: CaseGroup) -> list[Plot]:
    """The figure, if it is known what the cases compute and what their device attains."""
    attainable = group.attainable
    having = [case for case in group.cases if case.flops_per_step and case.bytes_per_step and case.step_time_s]
    peaks = [*attainable.flops.values(), attainable.bandwidth] if attainable and attainable.flops else [0.0]
    if attainable is None or min(peaks) <= 0 or not having:
        return []
    mark_of = marks(group.cases)
    points = [_point(group.label(case), mark_of[case.id], case) for case in group.shown(having)]
    spoken = "; ".join(f"{point.label} {formats.number(point.rate)} GFLOP/s" for point in points)
    roofs = ", ".join(f"{dtype} {formats.number(flops / GIGA)} GFLOP/s" for dtype, flops in attainable.flops.items())
    plot = Plot(
        name=f"roofline-{group.name}",
        title=f"Roofline: {group.title}",
        caption="The flat lines are what large matrix products attained on this device in this run, the slope what its "
        "memory did. Points under the slope can be limited by memory, points under a flat line by arithmetic; "
        f"what lies far below both loses its time elsewhere. {KEY}{group.left_out(having)}",
        alternative=f"Attainable: {roofs}, {formats.number(attainable.bandwidth / GIGA)} GB/s. Attained: {spoken}.",
        heads=("case", "FLOP a byte", "GFLOP/s", "of attainable"),
        rows=[_row(group.label(case), case) for case in having],
        draw=functools.partial(_draw, points, attainable),
    )
    return [plot]


def _point(label: str, mark: Mark, case: CaseSummary) -> RooflinePoint:
    assert case.flops_per_step, "asked only of cases whose work is known"
    assert case.bytes_per_step, "asked only of cases whose work is known"
    assert case.step_time_s, "asked only of cases that were timed"
    rate = case.flops_per_step / case.step_time_s.value / GIGA
    return RooflinePoint(label, mark, case.flops_per_step / case.bytes_per_step, rate)


def _row(label: str, case: CaseSummary) -> tuple[str, ...]:
    point = _point(label, Mark("", ""), case)
    return label, formats.number(point.intensity), formats.number(point.rate), formats.share(case.flops_utilization)


def _draw(points: Sequence[RooflinePoint], attainable: Attainable, width: float) -> Figure:
    narrow = is_narrow(width)
    figure = Figure((width * PX, HEIGHT * PX), dpi=1 / PX)
    labels = 0.0 if narrow else 30 + CHARACTER * max(len(shortened(point.label)) for point in points)
    axes = add_axes(figure, LEFT, TOP, width - LEFT - RIGHT - labels, HEIGHT - TOP - BOTTOM)
    peaks = {dtype: flops / GIGA for dtype, flops in attainable.flops.items()}
    bandwidth = attainable.bandwidth / GIGA
    intensities = [*(point.intensity for point in points), *(peak / bandwidth for peak in peaks.values())]
    low, high = min(intensities) / 4, max(intensities) * 4
    rates = [*(point.rate for point in points), low * bandwidth, *peaks.values()]
    log_axis(axes, [low, high], "operations a byte moved (FLOP/byte, logarithmic)")
    log_axis(axes, [min(rates), 1.3 * max(rates)], "GFLOP a second (logarithmic)", vertical=True)
    _draw_roof(axes, peaks, bandwidth)
    for point in points:
        (marker,) = axes.plot([point.intensity], [point.rate], point.mark.shape)
        marker.set(markersize=9, mfc=point.mark.colour, mec=SURFACE, zorder=3)
    _name_points(axes, points, inside=narrow)
    return figure


def _draw_roof(axes: Axes, peaks: Mapping[str, float], bandwidth: float) -> None:
    low, high = axes.get_xlim()
    highest = max(peaks.values())
    axes.plot([low, highest / bandwidth], [low * bandwidth, highest], color=INK, linewidth=1.5)
    text = f"memory: {formats.number(bandwidth)} GB/s"
    axes.text(low * 2, low * bandwidth * 1.2, text, fontsize=SMALL, color=INK)
    for dtype, peak in peaks.items():
        axes.plot([peak / bandwidth, high], [peak, peak], color=INK, linewidth=1.5)
        text = f"{dtype}: {formats.number(peak)} GFLOP/s"
        axes.text(high / 1.05, peak * 1.05, formats.plain(text), fontsize=SMALL, color=INK, ha="right")


def _name_points(axes: Axes, points: Sequence[RooflinePoint], *, inside: bool) -> None:
    """Write names beside the axes or, where there is no room, in them, on the side where no points are."""
    named = [(point.label, point.intensity, point.rate) for point in points]
    height = HEIGHT - TOP - BOTTOM
    if not inside:
        name_points(axes, named, height)
    elif share(points[0].intensity, axes.get_xlim()) < 0.5:  # noqa: PLR2004 - the middle.
        name_points(axes, named, height, x=0.99, side="right")
    else:
        name_points(axes, named, height, x=0.01)
