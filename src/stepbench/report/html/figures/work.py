"""Where the time of a step goes: categories of work, side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepbench.judge.breakdown import Category
from stepbench.report import formats
from stepbench.report.case_summary import Profile
from stepbench.report.html.figures.canvas import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    PURPLE,
    SILVER,
    SKY,
    SURFACE,
    VERMILLION,
    YELLOW,
    legend,
    legend_height,
    linear_axis,
    row_chart,
)
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.plot import Plot

BAR = 22.0
LOOKS: Mapping[Category, tuple[str, str]] = {
    Category.CONVOLUTION: (BLUE, ""),
    Category.MATRIX_PRODUCT: (SKY, "//"),
    Category.POOLING: (AMBER, ""),
    Category.ELEMENT_WISE: (GREEN, "\\\\"),
    Category.OPTIMIZER: (PURPLE, ""),
    Category.CAST_AND_COPY: (VERMILLION, "//"),
    Category.HOST: (SILVER, ""),
    Category.GAP: (SURFACE, "xx"),
    Category.INPUT: (YELLOW, ""),
    Category.PYTHON_CALLBACK: (GREY, "//"),
    Category.COLLECTIVE: (INK, ""),
}
"""Each category's colour and hatching, in the order in which bars are stacked."""


@dataclass(frozen=True)
class Bar:
    """The step of one case, or of one side of it."""

    label: str
    profile: Profile


def work(group: CaseGroup) -> list[Plot]:
    """The figure, if any case has a trace."""
    having = [case for case in group.cases if case.profile]
    bars = [Bar(group.label(case), case.profile) for case in having if case.profile]
    if not bars:
        return []
    shown = {group.label(case) for case in group.shown(having)}
    plot = plot_of(
        f"work-{group.name}",
        f"Time by category of work: {group.title}",
        bars,
        [bar for bar in bars if bar.label in shown],
        group.left_out(having),
    )
    return [plot]


def plot_of(name: str, title: str, bars: Sequence[Bar], shown: Sequence[Bar], left_out: str = "") -> Plot:
    """The figure of ``shown``, with the data of ``bars``."""
    categories = _categories(bars)
    spoken = "; ".join(f"{bar.label} {_spoken(bar)}" for bar in shown)
    return Plot(
        name=name,
        title=title,
        caption="A bar is one step, as long as it takes without the profiler; its pieces are what the trace says the "
        "time goes to. Host is Python and the dispatch of operations, gap is time in which a compiled step waits."
        + left_out,
        alternative=f"Milliseconds a step by category of work. {spoken}.",
        heads=("case", "step, ms", *(f"{category}, ms" for category in categories)),
        rows=[_row(bar, categories) for bar in bars],
        draw=functools.partial(_draw, shown),
    )


def _categories(bars: Sequence[Bar]) -> list[Category]:
    found = {category for bar in bars for category in bar.profile.categories}
    return [category for category in LOOKS if category in found]


def _ms(seconds: float) -> str:
    return formats.number(1e3 * seconds)


def _spoken(bar: Bar) -> str:
    largest = list(bar.profile.categories.items())[:3]
    parts = ", ".join(f"{category} {formats.share(seconds / bar.profile.step_s)}" for category, seconds in largest)
    return f"{_ms(bar.profile.step_s)} ms: {parts}"


def _mostly(bar: Bar) -> str:
    category, seconds = next(iter(bar.profile.categories.items()))
    return f"{_ms(bar.profile.step_s)} ms, {formats.share(seconds / bar.profile.step_s)} {category}"


def _row(bar: Bar, categories: Sequence[Category]) -> tuple[str, ...]:
    each = (_ms(bar.profile.categories.get(category, 0.0)) for category in categories)
    return bar.label, _ms(bar.profile.step_s), *each


def _draw(bars: Sequence[Bar], width: float) -> Figure:
    categories = _categories(bars)
    above = legend_height(categories, width)
    chart = row_chart(width, [(bar.label, _mostly(bar)) for bar in bars], BAR, above=above)
    legend(chart.figure, [Patch(**_style(category)) for category in categories], categories, width)
    for bar, y in zip(bars, chart.middles, strict=True):
        _draw_bar(chart.axes, bar.profile, categories, y)
    linear_axis(chart.axes, 0, 1.02e3 * max(bar.profile.step_s for bar in bars), "milliseconds a step")
    return chart.figure


def _style(category: Category) -> dict[str, Any]:
    colour, hatch = LOOKS[category]
    return {"facecolor": colour, "edgecolor": INK, "linewidth": 0.5, "hatch": hatch or None}


def _draw_bar(axes: Axes, profile: Profile, categories: Sequence[Category], y: float) -> None:
    start = 0.0
    for category in categories:
        length = 1e3 * profile.categories.get(category, 0.0)
        if length:
            axes.barh(y, length, BAR, start, **_style(category))
        start += length
