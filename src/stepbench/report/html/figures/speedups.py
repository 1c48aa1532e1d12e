"""How many times faster than the reference each case is, with its interval."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from matplotlib.figure import Figure

from stepbench.judge.statistics import Estimate
from stepbench.report import columns, formats
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures.canvas import INK, SURFACE, log_axis, row_chart
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.marks import KEY, Mark, marks
from stepbench.report.html.figures.plot import Plot

BAR = 18.0


def speedups(group: CaseGroup) -> list[Plot]:
    """The figure, if any case has a speed-up."""
    having = [case for case in group.cases if case.speedup]
    if not having:
        return []
    shown = group.shown(having)
    plot = Plot(
        name=f"speed-ups-{group.name}",
        title=f"Speed-up over eager/float32: {group.title}",
        caption="Farther right is faster. The point is the estimate, the line its 95 % interval from replicates, "
        "each for itself: of many, one in twenty may miss. Hollow points converge differently and "
        f"do not count. {KEY}{group.left_out(having)}",
        alternative=f"Speed-ups with intervals. {'; '.join(f'{group.label(case)} {_text(case)}' for case in shown)}.",
        heads=("case", "speed-up", "low", "high", "counts"),
        rows=[_row(group, case) for case in having],
        draw=functools.partial(_draw, [(group.label(case), case) for case in shown], marks(group.cases)),
    )
    return [plot]


def _text(case: CaseSummary) -> str:
    return "the reference" if columns.is_reference(case) else formats.estimate(case.speedup, unit="×")


def _row(group: CaseGroup, case: CaseSummary) -> tuple[str, ...]:
    assert case.speedup, "asked only of cases that have one"
    values = (case.speedup.value, case.speedup.low, case.speedup.high)
    numbers = (formats.ABSENT if value is None else f"{formats.number(value)}×" for value in values)
    return (group.label(case), *numbers, "yes" if columns.counts(case) else "no: it converges differently")


def _draw(cases: Sequence[tuple[str, CaseSummary]], mark_of: dict[str, Mark], width: float) -> Figure:
    chart = row_chart(width, [(label, _text(case)) for label, case in cases], BAR)
    bounds = [1.0]
    for (_, case), y in zip(cases, chart.middles, strict=True):
        assert case.speedup, "asked only of cases that have one"
        low, high = bounds_of(case.speedup)
        bounds += [low, high]
        mark = mark_of[case.id]
        chart.axes.plot([low, high], [y, y], color=mark.colour, linewidth=3, solid_capstyle="butt")
        face = mark.colour if columns.counts(case) else SURFACE
        chart.axes.plot(
            [case.speedup.value], [y], mark.shape, markersize=8, color=mark.colour, mfc=face, markeredgewidth=1.5
        )
    chart.axes.axvline(1, color=INK, linewidth=1)
    log_axis(chart.axes, bounds, "times as fast as eager/float32 (logarithmic)", "×")
    return chart.figure


def bounds_of(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the value twice where there is none."""
    return (
        estimate.value if estimate.low is None else estimate.low,
        estimate.value if estimate.high is None else estimate.high,
    )
