from __future__ import annotations

import pytest
from markupsafe import Markup

from stepbench.report.html import svg
from stepbench.report.html.figures.plot import Plot


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have their figures' words and data, and empty drawings: drawing takes most of a page's time."""

    def empty(plot: Plot, width: float, name: str) -> Markup:
        return Markup('<svg id="{}" width="{}" role="img" aria-label="{}"></svg>').format(name, width, plot.alternative)

    monkeypatch.setattr(svg, "inline", empty)
