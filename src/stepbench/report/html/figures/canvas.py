"""What all figures share: sizes, colours, axes and rows. Lengths are in pixels of CSS.

Figures are drawn with matplotlib's objects, never with pyplot, so no display and no global state is involved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

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
DECADE_STEPS = (1.0, 2.0, 5.0)


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


def legend(figure: Figure, entries: Sequence[tuple[str, dict[str, Any]]], width: float) -> None:
    """Swatches, or markers, with names along the figure's upper edge, as high as :func:`legend_height` says."""
    sizes = figure.get_size_inches() / PX
    places = _legend_places([name for name, _ in entries], width)
    for (name, style), (x, y) in zip(entries, places, strict=True):
        place, size = (x / sizes[0], 1 - (y + 11) / sizes[1]), (11 / sizes[0], 11 / sizes[1])
        if "marker" in style:
            middle = [place[0] + size[0] / 2], [place[1] + size[1] / 2]
            figure.add_artist(Line2D(*middle, **{"linestyle": ""} | style))
        else:
            figure.add_artist(Rectangle(place, *size, **style))
        write_at(figure, x + 17, y + 6, name, va="center_baseline", fontsize=SMALL)


def legend_height(names: Sequence[str], width: float) -> float:
    """How much room :func:`legend` takes."""
    return max((y for _, y in _legend_places(names, width)), default=0) + 26


def _legend_places(names: Sequence[str], width: float) -> list[tuple[float, float]]:
    places, x, y = [], 0.0, 2.0
    for name in names:
        needed = 35 + CHARACTER * len(shortened(name))
        if x and x + needed > width:
            x, y = 0.0, y + 20
        places.append((x, y))
        x += needed
    return places


def log_axis(axes: Axes, values: Sequence[float], label: str, unit: str = "", *, vertical: bool = False) -> None:
    """A logarithmic axis that holds ``values`` with some room, with ticks at 1, 2 and 5."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, 1.04)
    low, high = low / room, high * room
    _set_axis(axes, "log", (low, high), log_ticks(low, high), label, unit, vertical=vertical)


def linear_axis(axes: Axes, low: float, high: float, label: str, unit: str = "", *, vertical: bool = False) -> None:
    """A linear axis from ``low`` to ``high`` with ticks at round numbers."""
    high = high if high > low else low + 1
    _set_axis(axes, "linear", (low, high), linear_ticks(low, high), label, unit, vertical=vertical)


def _set_axis(
    axes: Axes,
    scale: str,
    limits: tuple[float, float],
    ticks: Sequence[float],
    label: str,
    unit: str,
    *,
    vertical: bool,
) -> None:
    side = "y" if vertical else "x"
    axis = axes.yaxis if vertical else axes.xaxis
    getattr(axes, f"set_{side}scale")(scale)
    getattr(axes, f"set_{side}lim")(*limits)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{_tick(tick)}{unit}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.grid(visible=True, color=GRID, linewidth=1)
    axis.set_label_text(label, fontsize=SMALL, color=MUTED)


def _tick(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004 - thousands.


def log_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """1, 2 and 5 times powers of ten between two positive numbers, or powers alone where these are too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (DECADE_STEPS, DECADE_STEPS[:1]):
        ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    apart = math.ceil(len(ticks) / most)
    few = len(ticks) < 2  # noqa: PLR2004 - a scale takes two.
    return linear_ticks(low, high) if few else ticks[::apart]


def linear_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two numbers."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(step * power for step in (*DECADE_STEPS, 10.0) if step * power >= rough)
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [float(f"{number * apart:.12g}") for number in range(first, last + 1)]
