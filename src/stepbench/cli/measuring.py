"""Commands that measure cases: run, verify and profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench import options
from stepbench.cli.selection import SelectionOptions, selecting
from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    Format,
    FormatOption,
    MarginOption,
    ResultsOption,
    SeedsOption,
    StepsOption,
    finish,
    measured,
)
from stepbench.spec import Tracing, Verification

DEFAULTS = Verification()


@selecting()
def run(
    selection: SelectionOptions,
    replicates: Annotated[int, typer.Option(help="Fresh processes for each case.")] = 5,
    rounds: Annotated[int, typer.Option(help="Blocks of each case in one process.")] = 9,
    budget: Annotated[str | None, typer.Option(help="About how long to measure at most, such as 4m.")] = None,
    input_pipeline: Annotated[bool, typer.Option(help="Also time a tf.data pipeline.")] = True,
    verify: Annotated[bool, typer.Option(help="Also verify that the variants converge alike.")] = True,
    seeds: SeedsOption = DEFAULTS.seeds,
    steps: StepsOption = DEFAULTS.steps,
    margin: MarginOption = f"{DEFAULTS.margin:.0%}",
    trace: Annotated[bool, typer.Option(help="Also capture a profiler trace of each case.")] = True,
    resume: Annotated[str | None, typer.Option(help="Continue this run: its id, a path, or 'latest'.")] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Measure cases in interleaved worker processes and print the table."""
    verification = Verification(seeds, steps, options.share("--margin", margin)) if verify else None
    request = options.measuring_request(
        **selection,
        replicates=options.at_least_one("--replicates", replicates),
        rounds=rounds,
        input_pipeline=input_pipeline,
        verification=verification,
        tracing=Tracing() if trace else None,
    )
    budget_s = None if budget is None else options.duration("--budget", budget)
    finish(*measured(request, results, resume, budget_s), output)


@selecting()
def verify(
    selection: SelectionOptions,
    seeds: SeedsOption = DEFAULTS.seeds,
    steps: StepsOption = DEFAULTS.steps,
    margin: MarginOption = f"{DEFAULTS.margin:.0%}",
    self_test: Annotated[bool, typer.Option("--self-test", help="Plant bugs and see them caught.")] = False,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Verify that variants converge like eager float32, without timing them."""
    from stepbench.planning import with_planted_bugs

    request = options.measuring_request(
        **selection,
        replicates=0,
        verification=Verification(seeds, steps, options.share("--margin", margin)),
    )
    if not self_test:
        finish(*measured(request, results), output)
    from stepbench.reporting.planted import print_self_test
    from stepbench.reporting.summary import summarize

    all_well = print_self_test(summarize(measured(with_planted_bugs(request), results)[0]))
    raise typer.Exit(EXIT_FINE if all_well else EXIT_FINDING)


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
