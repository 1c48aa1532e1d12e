"""Progress of long work, on the error output, so that a report can be piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from stepbench.records.progress import Progress as HowFar


class ProgressView(Protocol):
    """Where long work says how far it is."""

    def say(self, what: str) -> None:
        """Work of unknown length has begun."""

    def progress(self, state: HowFar) -> None:
        """So many blocks are done."""


@contextmanager
def shown() -> Iterator[ProgressView]:
    """Show progress as a bar on a terminal, as nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # A bar that redraws itself by a thread would take processor time from what is being timed.
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal
    ) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=0)

    def say(self, what: str) -> None:
        self._bar.update(self._task, description=Text(what).plain, refresh=True)

    def progress(self, state: HowFar) -> None:
        self._bar.update(self._task, description=state.doing, completed=state.done, total=state.total, refresh=True)
