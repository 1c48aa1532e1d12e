"""The command ``profile``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import selecting
from stepbench.cli.shared import Format, FormatOption, ResultsOption, finish, measured
from stepbench.commands.request import Request
from stepbench.records.cases import Tracing


@selecting()
def profile(
    request: Request,
    steps: Annotated[int, typer.Option(help="Steps in a trace.")] = Tracing().steps,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Capture profiler traces of cases, without timing them."""
    finish(*measured(replace(request, replicates=0, tracing=Tracing(steps)), results), output)
