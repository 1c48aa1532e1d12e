"""The command ``profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import SelectionOptions, selecting
from stepbench.cli.shared import Format, FormatOption, ResultsOption, finish, measured
from stepbench.commands import options
from stepbench.records.cases import Tracing


@selecting()
def profile(
    selection: SelectionOptions,
    steps: Annotated[int, typer.Option(help="Steps in a trace.")] = Tracing().steps,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Capture profiler traces of cases, without timing them."""
    request = options.measuring_request(
        **selection,
        replicates=0,
        tracing=Tracing(steps),
    )
    finish(*measured(request, results), output)
