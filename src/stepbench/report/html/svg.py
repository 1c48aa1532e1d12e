"""Figures as SVG inside a page, where they take its colours and its font, and as files."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup

from stepbench.errors import StepbenchError
from stepbench.report.html.figures import canvas
from stepbench.report.html.figures.plot import Plot

SETTINGS: Any = {  # Of matplotlib's keys, which its types list one by one.
    "svg.fonttype": "none",  # Text stays text, and is searched, selected and read aloud.
    "svg.hashsalt": "stepbench",  # The same run gives the same file.
    "text.parse_math": False,  # Names may hold dollar signs.
    "font.family": "DejaVu Sans",  # Comes with matplotlib.
    "hatch.linewidth": 0.8,
    "axes.unicode_minus": True,
}
COLOURS = {
    canvas.INK: "ink",
    canvas.MUTED: "muted",
    canvas.GRID: "grid",
    canvas.SURFACE: "surface",
    canvas.BLUE: "blue",
    canvas.VERMILLION: "vermillion",
    canvas.GREEN: "green",
    canvas.PURPLE: "purple",
    canvas.SKY: "sky",
    canvas.AMBER: "amber",
    canvas.YELLOW: "yellow",
    canvas.GREY: "grey",
    canvas.SILVER: "silver",
}
"""The variables of the page's style sheet that stand for the figures' colours, in light and in dark."""
SCREEN_DPI = 144
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
UNTURNED = "rotate(-0 "
_LOCAL = re.compile(r"(?:url\(|^)#([\w-]+)")
_FONT_SIZE = re.compile(r"[\d.]+px")
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")


def inline(plot: Plot, width: float, name: str) -> Markup:
    """A figure as an ``svg`` element of a page. It holds no style, which the page's security policy would refuse.

    Args:
        plot: what to draw.
        width: in pixels.
        name: distinct within the page.
    """
    with drawing():
        text = io.StringIO()
        plot.draw(width).savefig(text, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(text.getvalue())  # noqa: S314 - matplotlib has just written it.
    return Markup(ET.tostring(_adapted(root, plot.alternative, name), encoding="unicode"))  # noqa: S704 - serialised, so escaped.


def write_files(plot: Plot, folder: Path) -> None:
    """Write a figure as SVG and as PNG, on white.

    Raises:
        StepbenchError: when they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drawing():
            figure = plot.draw(canvas.WIDE)
            figure.set_facecolor(canvas.SURFACE)
            for ending, metadata in (("svg", {"Date": None, "Title": plot.title}), ("png", {"Title": plot.title})):
                figure.savefig(folder / f"{plot.name}.{ending}", dpi=SCREEN_DPI, metadata=metadata)
    except OSError as error:
        raise StepbenchError(f"{folder} cannot be written ({error.strerror}): choose another --figures.") from error


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw as set here, whatever the user's own settings of matplotlib are, and silently."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # The reader's browser has others.
        yield


def _adapted(root: ET.Element, label: str, name: str) -> ET.Element:
    """The drawing for a page: without what only files need, with names of its own, and with the page's colours."""
    used = {found for element in root.iter() for value in element.attrib.values() for found in _LOCAL.findall(value)}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{SVG}metadata", f"{SVG}style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        element.attrib = _attributes(element.attrib, used, name)
        _share_attributes(element)
    size = root.attrib["viewBox"].split()[2:]
    root.attrib = {"viewBox": root.attrib["viewBox"], "width": size[0], "height": size[1]}
    root.attrib |= {"role": "img", "aria-label": label, "xmlns": SVG.strip("{}")}
    return root


def _share_attributes(element: ET.Element) -> None:
    """Have many equal points take their looks from the element that holds them."""
    points = list(element)
    if element.tag != "g" or {point.tag for point in points} != {f"{SVG}use"}:
        return
    looks = [dict(_presentation(point.attrib.get("style", ""))) for point in points]
    if all(look == looks[0] for look in looks):
        element.attrib |= looks[0]
        for point in points:
            point.attrib.pop("style", None)


def _attributes(found: Mapping[str, str], used: set[str], name: str) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for key, value in found.items():
        if key == "style":
            attributes |= {said: _url(meant, name) for said, meant in _presentation(value)}
        elif key == "id" and value in used:
            attributes[key] = f"{name}-{value}"
        elif key == HREF:
            attributes["href"] = f"#{name}-{value.removeprefix('#')}"
        elif key in {"d", "x", "y"}:
            attributes[key] = _LONG_NUMBER.sub(r"\1", value)
        elif key != "id" and not value.startswith(UNTURNED):
            attributes[key] = _url(_coloured(value), name)
    return attributes


def _presentation(style: str) -> Iterator[tuple[str, str]]:
    """What a style says as attributes, which the page's security policy allows."""
    for part in style.split(";"):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key == "font":  # Up to matplotlib 3.10 one property says all.
            yield "font-size", _FONT_SIZE.findall(value)[0]
            yield "font-weight", "bold" if "bold" in value else "normal"
        elif key and key != "font-family":
            yield key, _coloured(value)


def _coloured(value: str) -> str:
    return f"var(--{COLOURS[value]})" if value in COLOURS else value


def _url(value: str, name: str) -> str:
    """With the reference to another element made distinct within the page."""
    return value.replace("url(#", f"url(#{name}-")
