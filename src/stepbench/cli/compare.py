"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    Format,
    FormatOption,
    PageOption,
    ResultsOption,
    check_page_option,
    print_found,
    put_page,
)
from stepbench.commands import options
from stepbench.errors import StepbenchError
from stepbench.records.gate import GateSettings


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A run's id or folder, or a baseline's name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another's.")] = "latest",
    threshold: Annotated[str, typer.Option(help="The slowdown that matters.")] = f"{GateSettings().threshold:.0%}",
    allow_different_machines: Annotated[
        bool, typer.Option("--allow-different-machines", help="Show ratios all the same, and judge nothing.")
    ] = False,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
    page: PageOption = None,
) -> None:
    """Compare two stored runs of one machine."""
    from stepbench.judge.compare import ComparisonVerdict, compare_runs
    from stepbench.records.store import Store, slug
    from stepbench.report.compare import blocks

    check_page_option(output, page)
    store = Store(results)
    share = options.share("--threshold", threshold)
    runs = store.read(old), store.read(new)
    found = compare_runs(*runs, share, allow_different_machines=allow_different_machines)
    match output:
        case Format.CSV:
            raise StepbenchError("A comparison is no table of cases: use --format text, json, markdown or html.")
        case Format.HTML:
            from stepbench.report.html.compare import comparison_page

            beside = store.locate(new) / f"compared-with-{slug(found.old)}.html"
            put_page(comparison_page(*runs, found), page or beside)
        case _:
            print_found(output, found, [blocks(found)])
    if found.verdict in (ComparisonVerdict.REGRESSION, ComparisonVerdict.MISSING):
        raise typer.Exit(EXIT_FINDING)
    raise typer.Exit(EXIT_INCONCLUSIVE if found.verdict is ComparisonVerdict.INCONCLUSIVE else EXIT_FINE)
