"""The command ``report``."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench.cli.shared import (
    Format,
    PageOption,
    ResultsOption,
    RunFormat,
    check_page_option,
    print_report,
    summarized,
)
from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.records.store import Run
    from stepbench.report.summary import Summary


def report(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    results: ResultsOption = Path("results"),
    case: Annotated[
        str | None, typer.Option(help="Only this case, or those that the name fits, with their operations.")
    ] = None,
    output: Annotated[
        RunFormat, typer.Option("--format", help="How it is printed; the last three are for other programs.")
    ] = RunFormat.TEXT,
    page: PageOption = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write each figure here, as SVG and as PNG, for a README or slides.")
    ] = None,
) -> None:
    """Print a stored run, or write its page with --format html."""
    from stepbench.records.store import Store, slug

    check_page_option(output, page)
    store = Store(results)
    stored, folder = store.read(run_name), store.locate(run_name)
    wanted = None if case is None else _matching(case, stored)
    if output.value not in {known.value for known in Format}:
        summary = _print_export(stored, output, wanted)
    else:
        own_page = None if case is None else folder / f"report-{slug(case)}.html"
        summary = print_report(stored, Format(output), wanted, folder=folder, page=page or own_page)
    if figures is not None:
        from stepbench.report.html.report import write_figures

        write_figures(stored, summary, figures)


def _matching(case: str, stored: Run) -> set[str]:
    from stepbench.commands.case_names import matching

    wanted = {found.id for found in matching(case, stored.plan.cases)}
    if not wanted:
        raise StepbenchError(f"Run {stored.run_id} has no case {case!r}: use an id such as {stored.plan.cases[0].id}.")
    return wanted


def _print_export(stored: Run, output: RunFormat, only: Container[str] | None) -> Summary:
    from stepbench.report import exports

    summary = summarized(stored, only)
    content = exports.exported(output.value, stored, summary)
    for remark in exports.left_out(summary):
        typer.echo(remark, err=True)
    typer.echo(content)
    return summary
