"""The command ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import selecting
from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    Format,
    FormatOption,
    ResultsOption,
    print_found,
    remark,
    say_where,
)
from stepbench.commands import options
from stepbench.commands.request import Request
from stepbench.errors import StepbenchError


@selecting(steps_per_call="1,20")
def tune(
    request: Request,
    budget: Annotated[str, typer.Option(help="About how long it may take, such as 10m.")] = "10m",
    allow: Annotated[
        list[str] | None, typer.Option(help="batch-size: try larger ones too, which learn differently.")
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="What all candidates have: NAME=VALUE, of execution, precision, steps_per_call or a setting."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of your training, over which compiling is counted; a script's own.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Continue this race: its run's id, a path, or 'latest'.")] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Find the fastest way to run the step here: a race of fresh processes, its winner measured again and verified."""
    from stepbench.commands.tune import TuneRequest
    from stepbench.commands.tune import tune as hold
    from stepbench.judge.training import Verdict
    from stepbench.report.progress import shown
    from stepbench.report.tune import chapters
    from stepbench.report.tuned import summarize_race

    if output in (Format.CSV, Format.HTML):
        raise StepbenchError("A race is printed as --format text, json or markdown; its page is left beside its run.")
    asked = TuneRequest(
        request,
        options.duration("--budget", budget),
        options.assignments("--fix", fix),
        allows_batch_size=options.allowed("--allow", allow),
        training_steps=None if steps is None else options.at_least_one("--steps", steps),
    )
    with shown() as progress:
        race, run, folder = hold(asked, results, progress.progress, remark, resume=resume)
    found = summarize_race(race, run)
    print_found(output, found, chapters(found))
    say_where(folder)
    codes = {Verdict.EQUIVALENT: EXIT_FINE, Verdict.DIFFERENT: EXIT_FINDING}
    is_default = found.winner.id == found.default.id
    raise typer.Exit(EXIT_FINE if is_default else codes.get(found.winner.equivalence.verdict, EXIT_INCONCLUSIVE))
