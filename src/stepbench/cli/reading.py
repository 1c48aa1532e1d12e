"""Commands that read stored runs: report, explain, compare and tensorboard."""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench import options
from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    Format,
    FormatOption,
    PageOption,
    ResultsOption,
    check_page_option,
    print_json,
    print_report,
    put_page,
    summarized,
)
from stepbench.errors import StepbenchError
from stepbench.pairs import GateSettings

if TYPE_CHECKING:
    from stepbench.reporting.summary import Summary
    from stepbench.store import Run


class ReportFormat(StrEnum):
    """How a stored run is printed: as all reports are, or for other programs."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"
    HTML = "html"
    PYTEST_BENCHMARK = "pytest-benchmark"
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    BENCHER = "bencher"


EXPORTS = (ReportFormat.PYTEST_BENCHMARK, ReportFormat.GITHUB_ACTION_BENCHMARK, ReportFormat.BENCHER)


def report(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    results: ResultsOption = Path("results"),
    case: Annotated[
        str | None, typer.Option(help="Only this case, or those that the name fits, with their operations.")
    ] = None,
    output: Annotated[
        ReportFormat, typer.Option("--format", help="How it is printed; the last three are for other programs.")
    ] = ReportFormat.TEXT,
    page: PageOption = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write each figure here, as SVG and as PNG, for a README or slides.")
    ] = None,
) -> None:
    """Print a stored run, or write its page with --format html."""
    from stepbench.store import Store, slug

    check_page_option(output, page)
    store = Store(results)
    stored, folder = store.read(run_name), store.locate(run_name)
    wanted = None if case is None else _matching(case, stored)
    if output in EXPORTS:
        summary = _print_export(stored, output, wanted)
    else:
        own_page = None if case is None else folder / f"report-{slug(case)}.html"
        summary = print_report(stored, Format(output), wanted, folder=folder, page=page or own_page)
    if figures is not None:
        from stepbench.reporting.html.page import write_figures

        write_figures(stored, summary, figures)


def _matching(case: str, stored: Run) -> set[str]:
    from stepbench.naming import matching

    wanted = {found.id for found in matching(case, stored.plan.cases)}
    if not wanted:
        raise StepbenchError(f"Run {stored.run_id} has no case {case!r}: use an id such as {stored.plan.cases[0].id}.")
    return wanted


def _print_export(stored: Run, output: ReportFormat, only: Container[str] | None) -> Summary:
    from stepbench.reporting import exports

    summary = summarized(stored, only)
    content = exports.exported(output.value, stored, summary)
    for remark in exports.left_out(summary):
        typer.echo(remark, err=True)
    typer.echo(content)
    return summary


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
    from stepbench.commands import explain_cases
    from stepbench.reporting import explanation

    explained = explain_cases(a, b, run_name, results)
    match output:
        case Format.TEXT:
            explanation.print_explanation(explained)
        case Format.JSON:
            print_json(explained)
        case Format.MARKDOWN:
            typer.echo(explanation.markdown(explained), nl=False)
        case Format.CSV | Format.HTML:
            raise StepbenchError("An explanation is no table and no page: use --format text, json or markdown.")


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
    from stepbench.analysis.comparison import ComparisonVerdict
    from stepbench.reporting import comparison as reporting
    from stepbench.store import Store, slug

    check_page_option(output, page)
    store = Store(results)
    share = options.share("--threshold", threshold)
    runs = store.read(old), store.read(new)
    found = reporting.compare_runs(*runs, share, allow_different_machines=allow_different_machines)
    match output:
        case Format.TEXT:
            reporting.print_comparison(found)
        case Format.JSON:
            print_json(found)
        case Format.MARKDOWN:
            typer.echo(reporting.markdown(found), nl=False)
        case Format.CSV:
            raise StepbenchError("A comparison is no table of cases: use --format text, json, markdown or html.")
        case Format.HTML:
            from stepbench.reporting.html.comparison import comparison_page

            beside = store.locate(new) / f"compared-with-{slug(found.old)}.html"
            put_page(comparison_page(*runs, found), page or beside)
    if found.verdict in (ComparisonVerdict.REGRESSION, ComparisonVerdict.MISSING):
        raise typer.Exit(EXIT_FINDING)
    raise typer.Exit(EXIT_INCONCLUSIVE if found.verdict is ComparisonVerdict.INCONCLUSIVE else EXIT_FINE)


def tensorboard(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    results: ResultsOption = Path("results"),
    port: Annotated[int | None, typer.Option(help="A free one from 6006 on, if not given.")] = None,
) -> None:
    """Serve a run's traces, curves and tables in TensorBoard, to this machine alone, until interrupted."""
    from stepbench.commands import serve_tensorboard

    serve_tensorboard(run_name, results, port, typer.echo)
