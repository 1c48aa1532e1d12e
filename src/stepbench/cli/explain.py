"""The command ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.shared import Format, FormatOption, ResultsOption, print_found
from stepbench.errors import StepbenchError


def explain(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A case: its id, or enough of it, such as eager or xla/float32.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another. RUN:CASE names a case of another run.")],
    run_name: Annotated[str, typer.Option("--run", metavar="RUN", help="The run that holds them.")] = "latest",
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Say why case A is faster or slower than case B, from their traces."""
    from stepbench.commands.explain import explain_cases
    from stepbench.report.explain import blocks

    explained = explain_cases(a, b, run_name, results)
    if output in (Format.CSV, Format.HTML):
        raise StepbenchError("An explanation is no table and no page: use --format text, json or markdown.")
    print_found(output, explained, [blocks(explained)])
