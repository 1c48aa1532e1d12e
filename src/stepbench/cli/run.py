"""The command ``run``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import selecting
from stepbench.cli.shared import (
    Format,
    FormatOption,
    MarginOption,
    ResultsOption,
    SeedsOption,
    StepsOption,
    finish,
    measured,
)
from stepbench.commands import options
from stepbench.commands.request import Request
from stepbench.records.cases import Tracing, Verification

DEFAULTS = Verification()


@selecting()
def run(
    request: Request,
    replicates: Annotated[int, typer.Option(help="Fresh processes for each case.")] = Request.replicates,
    rounds: Annotated[int, typer.Option(help="Blocks of each case in one process.")] = Request.rounds,
    budget: Annotated[str | None, typer.Option(help="About how long to measure at most, such as 4m.")] = None,
    input_pipeline: Annotated[bool, typer.Option(help="Also time a tf.data pipeline.")] = Request.input_pipeline,
    verify: Annotated[bool, typer.Option(help="Also verify that the variants converge alike.")] = True,
    seeds: SeedsOption = DEFAULTS.seeds,
    steps: StepsOption = DEFAULTS.steps,
    margin: MarginOption = f"{DEFAULTS.margin:.0%}",
    trace: Annotated[bool, typer.Option(help="Also capture a profiler trace of each case.")] = True,
    tuned: Annotated[bool, typer.Option("--tuned", help="Measure what the newest 'stepbench tune' found.")] = False,
    resume: Annotated[str | None, typer.Option(help="Continue this run: its id, a path, or 'latest'.")] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Measure cases in interleaved worker processes and print the table."""
    verification = Verification(seeds, steps, options.share("--margin", margin)) if verify else None
    asked = replace(
        request,
        replicates=options.at_least_one("--replicates", replicates),
        rounds=rounds,
        input_pipeline=input_pipeline,
        verification=verification,
        tracing=Tracing() if trace else None,
    )
    budget_s = None if budget is None else options.duration("--budget", budget)
    finish(*measured(asked, results, resume, budget_s, tuned=tuned), output)
