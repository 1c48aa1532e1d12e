"""How far long work is: what the engine tells, and whoever shows it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run, a gate or a verification is."""

    done: int
    """Blocks, trainings, traces or pairs, whichever the work is counted in."""
    total: int
    doing: str


Tell = Callable[[Progress], None]
"""Takes the progress of long work."""

Say = Callable[[str], None]
"""Takes what there is to say of how workloads were understood, a sentence at a time."""


def untold(progress: Progress) -> None:
    """Tell nobody."""


def unsaid(sentence: str) -> None:
    """Say nothing."""
