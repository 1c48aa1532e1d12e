from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from builders import ODD_NAMES, make_case, make_measurement, make_run
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from reports import full_run, full_summary

from stepbench.errors import StepbenchError
from stepbench.judge.breakdown import Category
from stepbench.report.html import svg
from stepbench.report.html.figures import canvas
from stepbench.report.html.figures.canvas import NARROW, WIDE, linear_axis, log_axis, row_chart, shortened
from stepbench.report.html.figures.labels import spread
from stepbench.report.html.figures.marks import marks
from stepbench.report.html.figures.memory import MEBIBYTE, MemoryRow
from stepbench.report.html.figures.memory import plot_of as memory_of
from stepbench.report.html.figures.plot import Plot
from stepbench.report.html.figures.work import LOOKS
from stepbench.report.html.report import figures, write_figures
from stepbench.report.summary import summarize

BRIGHT = {"surface", "yellow", "amber", "sky", "silver", "grid", "purple"}
"""What is an area or a line behind others, with an outline where it means something."""


def plot_of(*rows: tuple[str, str]) -> Plot:
    def draw(width: float) -> Figure:
        chart = row_chart(width, rows, 20)
        linear_axis(chart.axes, 0, 1, "axis")
        return chart.figure

    return Plot("name", "Title", "Caption.", "Alternative.", ("case",), [("one",)], draw)


@functools.cache
def all_figures() -> list[Plot]:
    """Each keeps what it once drew of a width, as drawing takes long."""
    run = full_run(sizes=(64, 128))
    plots = figures(run, full_summary(run))
    return [dataclasses.replace(plot, draw=functools.cache(plot.draw)) for plot in plots]


def parsed(plot: Plot, width: float = WIDE) -> ET.Element:
    return ET.fromstring(svg.inline(plot, width, "x"))  # noqa: S314 - it was written just now.


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_each_figure_is_drawn_at_its_width_in_the_pages_colours_and_no_text_leaves_it(width: float) -> None:
    for plot in all_figures():
        drawing = parsed(plot, width)
        assert float(drawing.attrib["width"]) == width
        colours = {
            value
            for element in drawing.iter()
            for name, value in element.attrib.items()
            if name in {"fill", "stroke"} and not value.startswith("url(")
        }
        assert all(value == "none" or re.fullmatch(r"var\(--[a-z]+\)", value) for value in colours), plot.name
        figure = plot.draw(width)
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call] # matplotlib leaves it out.
        for text in set(figure.findobj(Text)) - unseen_ticks(figure):
            assert isinstance(text, Text)
            if text.get_text() and text.get_visible():
                box = text.get_window_extent(renderer)
                assert box.x0 >= -1, (plot.name, text)
                assert box.x1 <= width + 1, (plot.name, text)


def unseen_ticks(figure: Figure) -> set[Artist]:
    """The labels of ticks beyond an axis's ends, which are not drawn."""
    found: set[Artist] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = axis.get_view_interval()
        found |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return found


def test_each_figure_says_what_to_see_and_has_its_data() -> None:
    for plot in all_figures():
        assert plot.caption.endswith(".")
        assert plot.alternative.endswith(".")
        assert plot.rows
        assert all(len(row) == len(plot.heads) for row in plot.rows)
    names = [plot.name for plot in all_figures()]
    assert len(set(names)) == len(names)


def test_odd_names_are_written_as_they_are() -> None:
    names = [*ODD_NAMES, "$x$ \\frac", "%s {0}"]
    drawing = parsed(plot_of(*((name, "1 %") for name in names)))
    written = [element.text for element in drawing.iter() if element.tag.endswith("text")]
    assert [text for text in written if text in names] == names


def test_figures_do_not_take_the_users_own_style(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = svg.inline(plot_of(("one", "1")), WIDE, "x")
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "#ff0000")
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "path")
    assert svg.inline(plot_of(("one", "1")), WIDE, "x") == plain
    assert mpl.rcParams["axes.facecolor"] == "#ff0000"


def test_files_are_written_as_svg_and_png_that_anything_shows(tmp_path: Path) -> None:
    run = make_run(make_measurement(make_case("eager"), [0.2]), make_measurement(make_case("graph"), [0.1]))
    folder = tmp_path / "new" / "figures"
    write_figures(run, summarize(run), folder)
    names = {f"{what}-cnn--cpu" for what in ("speed-ups", "step-times", "memory")}
    assert {path.name for path in folder.iterdir()} == {f"{name}{end}" for name in names for end in (".svg", ".png")}
    drawing = (folder / "speed-ups-cnn--cpu.svg").read_text()
    assert "var(--" not in drawing
    assert "graph/float32" in drawing
    assert "Speed-up over eager/float32" in drawing
    assert (folder / "speed-ups-cnn--cpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepbenchError, match="choose another --figures"):
        svg.write_files(plot_of(("one", "1")), tmp_path / "file")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def palettes() -> list[dict[str, str]]:
    """The page's colours, in light and in dark."""
    style = (Path(svg.__file__).parent / "templates" / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in blocks]


def test_text_and_marks_stand_out_in_light_and_in_dark() -> None:
    light, dark = palettes()
    assert {name: light[name] for name in svg.COLOURS.values()} == {name: hex_ for hex_, name in svg.COLOURS.items()}
    assert set(dark) == set(light)
    for palette in (light, dark):
        for ground in ("surface", "raised"):
            for text in ("ink", "muted", "accent", "good", "bad", "doubtful"):
                assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
        for name in set(svg.COLOURS.values()) - BRIGHT:
            assert contrast(palette[name], palette["surface"]) >= 3, name


def test_what_means_something_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(Category)
    assert len(set(LOOKS.values())) == len(LOOKS)
    assert {colour for colour, _ in LOOKS.values()} <= set(svg.COLOURS)
    executions = ("eager", "graph", "xla", "keras", "mine", "yours")
    run = make_run(*(make_measurement(make_case(name, precision)) for name in executions for precision in PRECISIONS))
    found = marks(summarize(run).cases)
    assert len({mark.shape for mark in found.values()}) == len(executions)
    assert len({mark.colour for mark in found.values()}) == len(PRECISIONS)
    assert len(set(found.values())) == len(found)


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.mark.parametrize("low", [1e-9, 0.037, 1.0, 940.0, 1e12])
def test_ticks_of_logarithmic_axes_are_a_few_numbers(low: float) -> None:
    for factor in (1.001, 1.05, 1.8, 7, 90, 400, 1e4, 1e9):
        assert 2 <= len(ticks(log_axis, [low, low * factor])) <= 10, factor


@pytest.mark.parametrize("low", [-1e6, 0.0, 0.3])
def test_ticks_of_linear_axes_are_a_few_numbers(low: float) -> None:
    for span in (0.0, 0.013, 0.9, 7.5, 1e9):
        assert 2 <= len(ticks(linear_axis, low, low + span)) <= 8, span


def ticks(scale: Callable[..., None], *ends: Any) -> list[float]:
    """Those that are seen on the horizontal axis."""
    axes = row_chart(WIDE, [("one", "1")], 20).axes
    scale(axes, *ends, "a")
    low, high = axes.get_xlim()
    return [tick for tick in axes.get_xticks() if low <= tick <= high]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_names_beside_points_do_not_overlap(heights: list[float]) -> None:
    moved = sorted(spread(heights, 0.04))
    assert all(two - one >= 0.04 - 1e-9 for one, two in itertools.pairwise(moved))
    assert max(moved, default=0) <= 1 + 1e-9


@given(st.text(max_size=200))
def test_shortened_text_fits(text: str) -> None:
    assert len(shortened(text, 10)) <= 10
    assert shortened(text, 10).isprintable()


def test_rows_are_as_many_as_asked_for_and_in_order() -> None:
    chart = row_chart(WIDE, [("one", "1"), ("two", "2"), ("three", "3")], 20, above=30)
    assert len(chart.middles) == 3
    assert list(chart.middles) == sorted(chart.middles)
    assert chart.figure.get_size_inches()[0] * 72 == pytest.approx(canvas.WIDE)


def test_each_phase_that_was_seen_marks_its_peak_of_memory() -> None:
    phases = {"build": 10 * MEBIBYTE, "steps": 30 * MEBIBYTE}
    rows = [MemoryRow("graph", "#000000", 30 * MEBIBYTE, phases), MemoryRow("old", "#000000", 20 * MEBIBYTE)]
    (axes,) = memory_of("memory", "Memory", rows, rows).draw(WIDE).axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[10.0], [30.0]]  # type: ignore[arg-type] # An array.
