"""Names of points, written beside them without overlapping."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from stepbench.report.html.figures.canvas import INK, SILVER, SMALL, shortened

PITCH = 15.0


def name_points(
    axes: Axes, points: Sequence[tuple[str, float, float]], height: float, *, x: float = 1.02, side: str = "left"
) -> None:
    """Write a name for each point, joined to it by a line.

    Args:
        axes: logarithmic in both directions.
        points: name, x and y of each.
        height: of the axes.
        x: where to write, as a share of the axes' width.
        side: of the name that is at ``x``.
    """
    heights = spread([share(y, axes.get_ylim()) for _, _, y in points], PITCH / height)
    for (name, *point), y in zip(points, heights, strict=True):
        axes.annotate(
            shortened(name),
            (point[0], point[1]),
            (x, y),
            textcoords="axes fraction",
            fontsize=SMALL,
            color=INK,
            ha=side,
            va="center",
            arrowprops={"arrowstyle": "-", "color": SILVER, "linewidth": 1, "shrinkA": 3, "shrinkB": 6},
        )


def share(value: float, limits: tuple[float, float]) -> float:
    """Where a value lies on a logarithmic axis, from 0 to 1."""
    low, high = limits
    return math.log(value / low) / math.log(high / low)


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """The heights, moved so that none are closer than ``apart``, below 1 as far as that is possible."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    moved, lowest = list(heights), -math.inf
    for index in order:
        moved[index] = lowest = max(moved[index], lowest + apart)
    highest = 1.0
    for index in reversed(order):
        moved[index] = min(moved[index], highest)
        highest = moved[index] - apart
    return moved
