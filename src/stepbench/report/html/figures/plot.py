"""A figure with all that a page and its readers need of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20
"""In one figure; the table of cases has all."""


@dataclass(frozen=True)
class Plot:
    """One figure."""

    name: str
    """Of its file; distinct within a page."""
    title: str
    caption: str
    """What to see in it; sentences."""
    alternative: str
    """What it shows, for those who cannot see it; sentences."""
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """Its data as a table."""
    draw: Callable[[float], Figure]
    """Draws it so many pixels wide."""
