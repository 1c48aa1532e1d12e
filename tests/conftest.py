from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main
from hypothesis import settings
from invoking import Invoke

if TYPE_CHECKING:
    from stepbench.report.html.figures.plot import Plot

settings.register_profile("usual", max_examples=40, deadline=None)  # The machine may be busy.
settings.load_profile("usual")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Importing a test module that needs TensorFlow takes seconds, even if none of its tests is then selected."""
    if collection_path.suffix != ".py":
        return None
    is_pure = config.option.markexpr == "not tensorflow"
    return (is_pure and "pytest.mark.tensorflow" in collection_path.read_text()) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is slow runs only where -m names it: 'make test-slow'."""
    if "slow" not in config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    # Files that take long come first, so that short ones fill the end, when one of two processes would wait.
    items.sort(key=lambda item: item.get_closest_marker("tensorflow") is None)


@pytest.fixture
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pools start fake workers."""
    from faking import start_fakes

    start_fakes(monkeypatch)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have their figures' words and data, and empty drawings: drawing takes most of a page's time."""
    from markupsafe import Markup

    from stepbench.report.html import svg

    def empty(plot: Plot, width: float, name: str) -> Markup:
        return Markup('<svg id="{}" width="{}" role="img" aria-label="{}"></svg>').format(name, width, plot.alternative)

    monkeypatch.setattr(svg, "inline", empty)


command_tree = functools.cache(typer.main.get_command)
"""Typer would make it anew for each call, which takes longer than most calls."""


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Call the command line in this process, which may start no worker."""
    from stepbench import cli
    from stepbench.engine import worker

    def start(*_: object) -> None:
        pytest.fail("a worker was started for what could be decided without one")

    monkeypatch.setattr(worker.Worker, "__init__", start)
    monkeypatch.setattr(typer.main, "get_command", command_tree)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stepbench", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, captured.out, captured.err

    return call
