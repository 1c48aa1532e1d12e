"""Templates, and the page's one style sheet and one script, which its security policy allows by their hashes."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from stepbench.report import formats
from stepbench.report.blocks import Cell, text_table
from stepbench.report.html import svg
from stepbench.report.html.figures.canvas import NARROW, WIDE
from stepbench.report.html.figures.plot import Plot
from stepbench.report.html.view import Drawn, Page

TEMPLATES = "templates"
_WITH_INTERVAL = re.compile(r"(.+?) \[(.+)\]")
LONGEST_WORD = 40
"""Of a cell that is not broken within words."""


def render(page: Page) -> str:
    """A page as text: one file, which loads nothing."""
    style, script = _asset("style.css"), _asset("table.js")
    policy = f"default-src 'none'; style-src {_hashed(style)}; script-src {_hashed(script)}; img-src data:"
    return _template().render(
        page=page,
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - the package's own file, as is the script.
        script=Markup(script),  # noqa: S704
    )


def drawn(plots: Sequence[Plot]) -> list[Drawn]:
    """Figures for a page, each twice, once for phones."""
    return [
        Drawn(
            plot.title,
            plot.caption,
            svg.inline(plot, WIDE, f"{plot.name}-wide"),
            svg.inline(plot, NARROW, f"{plot.name}-narrow"),
            text_table(plot.heads, plot.rows, plot.heads[:1], title=plot.title, name=f"{plot.name}-data"),
        )
        for plot in plots
    ]


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("stepbench.report.html", TEMPLATES),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What a block is decides how it is shown.
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "breakable": _breakable,
        "unbroken": _unbroken,
        "verbatim": _verbatim,
        "split_interval": lambda cell: split_interval(cell.text) if cell.key is not None else (cell.text, ""),
        "toned": _toned,
    }
    return environment.get_template("page.html.j2")


def _finalized(value: object) -> object:
    """Text from anywhere without the control characters that browsers obey, such as those that turn its direction."""
    return formats.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _verbatim(line: str) -> Markup:
    return Markup.escape(formats.verbatim(line))


def split_interval(text: str) -> tuple[str, str]:
    """A figure and its interval, if it has one, which stands below it."""
    found = _WITH_INTERVAL.fullmatch(text)
    return (found[1], found[2].replace(", ", " – ")) if found else (text, "")


def _toned(cell: Cell) -> str:
    return cell.tone or ("quiet" if cell.text == formats.ABSENT else "")


def _breakable(name: str) -> Markup:
    """A name that is broken after a slash rather than elsewhere."""
    return Markup("/<wbr>").join(formats.plain(name).split("/"))


def _unbroken(text: str) -> bool:
    """Whether ``text`` holds what no line of a table's cell has room for."""
    return max(map(len, text.split()), default=0) > LONGEST_WORD


@functools.cache
def _asset(name: str) -> str:
    return (resources.files("stepbench.report.html") / TEMPLATES / name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
