"""What all figures share: sizes, colours, axes and rows. Lengths are in pixels of CSS.

Figures are drawn with matplotlib's objects, never with pyplot, so no display and no global state is involved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from stepbench.report import formats

WIDE, NARROW = 960.0, 360.0
"""Each figure is drawn for screens and for phones, so that its text has the same size on both."""
PX = 1 / 72
"""Inches, at the resolution at which matplotlib's points are pixels."""

INK, MUTED, GRID, SURFACE = "#1b1f24", "#59636e", "#dfe3e8", "#ffffff"
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY, AMBER, YELLOW, GREY, SILVER = "#56b4e9", "#e69f00", "#f0e442", "#7d8791", "#c3c9d0"
"""Okabe and Ito's palette, which colour-blind people can tell apart, and greys."""

SMALL, TEXT = 11.0, 12.0
CHARACTER = 6.9
"""About the width of a character of such text."""
LONGEST_LABEL = 44
AXIS_HEIGHT = 40.0
LABEL_LINE = 17.0
STEPS = (1, 2, 5, 10)
"""What ticks are multiples of, times a power of ten."""
FEW, MANY = 5, 500
"""Times the least value of a logarithmic axis is its greatest, where its ticks are evenly spaced, and powers of ten."""
LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (0, 1),
    "borderaxespad": 0,
    "borderpad": 0.1,
    "fontsize": SMALL,
    "frameon": False,
    "handlelength": 1.0,
    "handletextpad": 0.6,
    "columnspacing": 1.5,
}


def is_narrow(width: float) -> bool:
    """Whether a figure is for phones."""
    return width < (WIDE + NARROW) / 2


def shortened(text: str, characters: int = LONGEST_LABEL) -> str:
    """``text`` on one line that fits; the table beside the figure has all of it."""
    text = formats.plain(text)
    return text if len(text) <= characters else f"{text[: max(0, characters - 1)]}…"


@dataclass(frozen=True)
class RowChart:
    """Axes with a named row for each thing that is compared."""

    figure: Figure
    axes: Axes
    middles: tuple[float, ...]
    """Of the rows' bars, on the y axis."""


def row_chart(width: float, rows: Sequence[tuple[str, str]], bar: float, *, above: float = 0.0) -> RowChart:
    """Axes for rows, the first on top.

    Args:
        width: of the figure.
        rows: name and value of each, written beside it, or above it in a narrow figure.
        bar: the height of what is drawn in a row.
        above: room to leave above the axes.
    """
    narrow = is_narrow(width)
    values = [shortened(value) for _, value in rows]
    # In a narrow figure name and value share a line.
    names = [
        shortened(name, int(width / CHARACTER) - len(value) - 2 if narrow else LONGEST_LABEL)
        for (name, _), value in zip(rows, values, strict=True)
    ]
    left = 6.0 if narrow else 14 + CHARACTER * max(map(len, names))
    right = 14.0 if narrow else 18 + CHARACTER * max(map(len, values))
    pitch = bar + (LABEL_LINE + 8 if narrow else 10)
    height = above + pitch * len(rows) + AXIS_HEIGHT
    figure = Figure((width * PX, height * PX), dpi=1 / PX)
    axes = add_axes(figure, left, above, width - left - right, pitch * len(rows))
    axes.set_ylim(pitch * len(rows), 0)
    axes.yaxis.set_major_locator(NullLocator())
    room = width - left - right
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        top = pitch * index
        y = top + (LABEL_LINE / 2 + 2 if narrow else pitch / 2)
        for text, x, side in ((name, 0.0, "left"), (value, width, "right")):
            written = axes.text((x - left) / room, y, text, transform=axes.get_yaxis_transform())
            written.set(ha=side, va="center_baseline", fontsize=TEXT, color=INK if side == "left" else MUTED)
            if narrow and text:  # There it stands on grid lines.
                written.set_bbox({"facecolor": SURFACE, "edgecolor": "none", "pad": 1})
    first = LABEL_LINE + 4 + bar / 2 if narrow else pitch / 2
    return RowChart(figure, axes, tuple(first + pitch * index for index in range(len(rows))))


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Bare axes at a place in the figure, measured from its upper left corner."""
    whole = figure.get_size_inches() / PX
    axes = figure.add_axes(
        (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1]), facecolor="none"
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=6, labelsize=SMALL, labelcolor=MUTED)
    axes.set_axisbelow(True)
    return axes


def write_at(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write at a place in the figure, measured from its upper left corner."""
    width, height = figure.get_size_inches() / PX
    figure.text(x / width, 1 - y / height, shortened(text), **{"fontsize": TEXT, "color": INK, **style})


def legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], width: float) -> None:
    """Names what handles look like along the figure's upper edge, as high as :func:`legend_height` says."""
    columns = _legend_columns(names, width)
    shown = figure.legend(handles, [shortened(name) for name in names], ncols=columns, **LEGEND)
    for text in shown.get_texts():
        text.set_color(INK)


def legend_height(names: Sequence[str], width: float) -> float:
    """How much room :func:`legend` takes."""
    return 20.0 * math.ceil(len(names) / _legend_columns(names, width)) + 6


def _legend_columns(names: Sequence[str], width: float) -> int:
    widths = [36 + CHARACTER * len(shortened(name)) for name in names]
    return max(1, len(names) if sum(widths) <= width else int(width / max(widths)))


def log_axis(axes: Axes, values: Sequence[float], label: str, unit: str = "", *, vertical: bool = False) -> None:
    """A logarithmic axis that holds ``values`` with some room."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, 1.04)
    low, high = low / room, high * room
    ticks = MaxNLocator(7, steps=STEPS) if high < FEW * low else LogLocator(subs=STEPS[: 3 if high < MANY * low else 1])
    _set_axis(axes, "log", (low, high), ticks, label, unit, vertical=vertical)


def linear_axis(axes: Axes, low: float, high: float, label: str, unit: str = "", *, vertical: bool = False) -> None:
    """A linear axis from ``low`` to ``high`` with ticks at round numbers."""
    limits = (low, high if high > low else low + 1)
    _set_axis(axes, "linear", limits, MaxNLocator(7, steps=STEPS), label, unit, vertical=vertical)


def _set_axis(
    axes: Axes,
    scale: str,
    limits: tuple[float, float],
    ticks: Locator,
    label: str,
    unit: str,
    *,
    vertical: bool,
) -> None:
    side = "y" if vertical else "x"
    axis = axes.yaxis if vertical else axes.xaxis
    getattr(axes, f"set_{side}scale")(scale)
    getattr(axes, f"set_{side}lim")(*limits)
    axis.set_major_locator(ticks)
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{_tick(tick)}{unit}"))
    axis.set_minor_locator(NullLocator())
    axis.grid(visible=True, color=GRID, linewidth=1)
    axis.set_label_text(label, fontsize=SMALL, color=MUTED)


def _tick(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004 - thousands.
