from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from builders import ENVIRONMENT, ODD_NAMES
from histories import ELSEWHERE, followed, run_at, stepping
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stepbench.records.machine import Cpu
from stepbench.report.history_plot import COLOURS, draw, write_plot


def upright(figure: Figure, style: str) -> list[float]:
    """Where lines of that style stand."""
    lines = (line for line in figure.axes[0].lines if line.get_linestyle() == style)
    return [float(np.asarray(line.get_xdata())[0]) for line in lines]


def marks(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if line.get_marker() not in {"None", "", None}]


def test_every_run_is_a_mark_at_its_step_time_with_its_interval(tmp_path: Path) -> None:
    history = followed(tmp_path, *stepping())
    figure = draw(history)
    (line,) = marks(figure)
    times = [point.step_time_s for point in history.points]
    drawn_times = np.asarray(line.get_ydata()).tolist()
    assert drawn_times == pytest.approx([1e3 * found.value for found in times if found])
    intervals = figure.axes[0].collections[0].get_paths()
    drawn = [(path.vertices[0][1], path.vertices[1][1]) for path in intervals]  # type: ignore[index] # An array.
    for (low, high), found in zip(drawn, times, strict=True):
        assert found
        assert (low, high) == pytest.approx((1e3 * (found.low or 0), 1e3 * (found.high or 0)))


def test_a_change_point_is_a_dashed_line_with_its_size_before_the_run(tmp_path: Path) -> None:
    figure = draw(followed(tmp_path, *stepping()))
    assert upright(figure, "--") == [7.5]
    (size,) = (text.get_text() for text in figure.axes[0].texts)
    assert size == "+9.8 %"
    assert upright(draw(followed(tmp_path / "calm", *stepping(share=0))), "--") == []


def test_a_change_of_machine_is_a_dotted_line_and_machines_look_different(tmp_path: Path) -> None:
    runs = [run_at(n, 10, environment=ELSEWHERE if n in {3, 4} else ENVIRONMENT) for n in range(8)]
    figure = draw(followed(tmp_path, *runs))
    assert upright(figure, ":") == [2.5, 4.5]
    looks = {(line.get_color(), line.get_marker()) for line in marks(figure)}
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 2
    legend = figure.axes[0].get_legend()
    assert legend
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [*(f"machine {one.fingerprint[:6]}" for one in (ENVIRONMENT, ELSEWHERE)), "another machine"]


def test_more_machines_than_colours_are_drawn(tmp_path: Path) -> None:
    machines = len(COLOURS) + 2
    environments = [msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model=f"CPU {n}")) for n in range(machines)]
    runs = [run_at(n, 10, environment=environment) for n, environment in enumerate(environments)]
    assert len(marks(draw(followed(tmp_path, *runs)))) == machines


def test_names_stand_in_the_picture_as_text(tmp_path: Path) -> None:
    names = " ".join([*ODD_NAMES, "$x^2$", "$\\frac{1", "\\LaTeX"])
    history = msgspec.structs.replace(followed(tmp_path, run_at(0, 10)), case=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_plot(history, tmp_path / "plot.svg")
    text = "".join(ET.parse(tmp_path / "plot.svg").getroot().itertext())  # noqa: S314 - our own file.
    assert names in " ".join(text.split())


def test_the_ending_decides_the_format(tmp_path: Path) -> None:
    history = followed(tmp_path, run_at(0, 10))
    write_plot(history, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    write_plot(history, tmp_path / "plot.svg")
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file.
