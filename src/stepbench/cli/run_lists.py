"""What the commands about many stored runs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stepbench.cli.shared import Format, print_found
from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.records.store import Brief, Briefs
    from stepbench.report.blocks import Block
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

    return list_runs(runs, collect(Path.cwd()))


def print_list(listed: RunList, blocks: Sequence[Block], output: Format) -> None:
    """Print a list of runs in the format that is asked for."""
    if output is Format.CSV:
        from stepbench.report.run_list import run_list_csv

        typer.echo(run_list_csv(listed), nl=False)
    else:
        print_found(output, listed, [blocks])
