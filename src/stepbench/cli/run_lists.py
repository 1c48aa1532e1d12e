"""What the commands about many stored runs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stepbench.cli.shared import Format, print_json
from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.records.store import Brief, Briefs
    from stepbench.report.grid import Grid
    from stepbench.report.run_list import RunList


def refuse_page(output: Format) -> None:
    """Refuse to make a page of what is none.

    Raises:
        StepbenchError: when one is asked for.
    """
    if output is Format.HTML:
        raise StepbenchError("This is no page: use --format text, json, markdown or csv.")


def readable(briefs: Briefs) -> tuple[Brief, ...]:
    """The runs; of those that cannot be read a line is said beside the output."""
    for problem in briefs.problems:
        typer.echo(f"stepbench: {' '.join(problem.split())}", err=True)
    return briefs.runs


def listed_here(runs: tuple[Brief, ...]) -> RunList:
    """The runs as they are listed, each with whether it is of this machine."""
    from stepbench.probes.environment import collect
    from stepbench.report.run_list import list_runs

    return list_runs(runs, collect(Path.cwd()).fingerprint)


def print_list(listed: RunList, grid: Grid, output: Format) -> None:
    """Print a list of runs in the format that is asked for."""
    match output:
        case Format.JSON:
            print_json(listed)
        case Format.CSV:
            from stepbench.report.run_list import run_list_csv

            typer.echo(run_list_csv(listed), nl=False)
        case _:
            print_grid(grid, output)


def print_grid(grid: Grid, output: Format) -> None:
    """Print a table, as text or as markdown."""
    from stepbench.report.grid import markdown_grid, print_grid

    if output is Format.MARKDOWN:
        typer.echo(markdown_grid(grid), nl=False)
    else:
        print_grid(grid)
