"""The command ``verify``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import selecting
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
from stepbench.commands import options
from stepbench.commands.request import Request
from stepbench.records.cases import Verification

DEFAULTS = Verification()


@selecting()
def verify(
    request: Request,
    seeds: SeedsOption = DEFAULTS.seeds,
    steps: StepsOption = DEFAULTS.steps,
    margin: MarginOption = f"{DEFAULTS.margin:.0%}",
    self_test: Annotated[bool, typer.Option("--self-test", help="Plant bugs and see them caught.")] = False,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Verify that variants converge like eager float32, without timing them."""
    from stepbench.commands.verify import with_planted_bugs

    verification = Verification(seeds, steps, options.share("--margin", margin))
    asked = replace(request, replicates=0, verification=verification)
    if not self_test:
        finish(*measured(asked, results), output)
    from stepbench.report.summary import summarize
    from stepbench.report.text import print_chapters
    from stepbench.report.verify import all_well, self_test_table

    summary = summarize(measured(with_planted_bugs(asked), results)[0])
    print_chapters([[self_test_table(summary)]])
    raise typer.Exit(EXIT_FINE if all_well(summary) else EXIT_FINDING)
