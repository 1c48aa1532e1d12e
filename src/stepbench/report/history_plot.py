"""A case's history as a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepbench.judge.history import Series
from stepbench.report import formats
from stepbench.report.history import History, HistoryPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which people who see fewer colours tell apart too; the markers differ as well."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE = (10.0, 4.5)
"""In inches."""
CROWDED, USUAL_SIZE, CROWDED_SIZE = 100, 4.0, 2.0
"""With more runs than this, their marks are smaller; sizes in points."""


def write_plot(history: History, path: Path) -> None:
    """Draw it into a file of the format that its ending names.

    Raises:
        OSError: when the file cannot be written.
    """
    from stepbench.report.html.svg import drawing

    content = io.BytesIO()
    with drawing():
        draw(history).savefig(content, format=path.suffix.removeprefix("."), dpi=150)
    path.write_bytes(content.getvalue())


def draw(history: History) -> Figure:
    """The step time of each run with its interval, the levels between changes, and where the machine changed."""
    from matplotlib.figure import Figure

    places = {point.run: place for place, point in enumerate(history.points)}
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for number, series in enumerate(history.series):
        _draw_runs(axes, series.machine, history.points, number)
        _draw_levels(axes, series, places, COLOURS[number % len(COLOURS)])
    moves = [place - 0.5 for place, point in enumerate(history.points) if point.machine_changed]
    for number, place in enumerate(moves):
        axes.axvline(place, color="#666666", linestyle=":", linewidth=1, label="_" * bool(number) + "another machine")
    _label(axes, history)
    return figure


def _draw_runs(axes: Axes, machine: str, points: Sequence[HistoryPoint], number: int) -> None:
    timed = [
        (place, *bounds) for place, point in enumerate(points) if point.machine == machine for bounds in _ms(point)
    ]
    places, low, value, high = zip(*timed, strict=True)
    look = number % len(COLOURS)
    size = CROWDED_SIZE if len(points) > CROWDED else USUAL_SIZE
    axes.vlines(places, low, high, color=COLOURS[look], linewidth=1, alpha=0.4)
    name = f"machine {formats.short(machine)}"
    axes.plot(places, value, MARKERS[look], color=COLOURS[look], markersize=size, label=name)


def _draw_levels(axes: Axes, series: Series, places: Mapping[str, int], colour: str) -> None:
    for segment in series.segments:
        ends = (places[segment.first] - 0.4, places[segment.last] + 0.4)
        axes.hlines(1e3 * segment.step_time_s.value, *ends, color=colour, linewidth=2)
    for change in series.changes:
        place = places[change.run] - 0.5
        axes.axvline(place, color=colour, linestyle="--", linewidth=1)
        axes.annotate(
            f"{100 * (change.ratio.value - 1):+.1f} %",
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -10),
            textcoords="offset points",
            color=colour,
            fontsize="small",
        )


def _ms(point: HistoryPoint) -> Iterator[tuple[float, float, float]]:
    """Lower bound, value and upper bound in milliseconds, of a run that was timed."""
    if found := point.step_time_s:
        low, high = found.value if found.low is None else found.low, found.value if found.high is None else found.high
        yield 1e3 * low, 1e3 * found.value, 1e3 * high


def _label(axes: Axes, history: History) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def date(place: float, _: int | None = None) -> str:
        number = round(place)
        return f"{history.points[number].started:%Y-%m-%d\n%H:%M}" if 0 <= number < len(history.points) else ""

    axes.set_title(formats.plain(history.case))
    axes.set_ylabel("ms a step")
    axes.set_xlabel("runs, oldest first")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(date))
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
