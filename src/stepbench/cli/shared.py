"""What the commands share: options, exit codes, and how results are printed."""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.commands.request import Request
    from stepbench.records.store import Run
    from stepbench.report.blocks import Chapters
    from stepbench.report.summary import Summary


EXIT_FINE = 0
EXIT_FINDING = 1
EXIT_INCONCLUSIVE = 3


class Format(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"
    HTML = "html"


class RunFormat(StrEnum):
    """How a stored run is printed: as all reports are, or for other programs. A command offers all of its type."""

    TEXT = Format.TEXT
    JSON = Format.JSON
    MARKDOWN = Format.MARKDOWN
    CSV = Format.CSV
    HTML = Format.HTML
    PYTEST_BENCHMARK = "pytest-benchmark"
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    BENCHER = "bencher"


SeedsOption = Annotated[int, typer.Option("--seeds", help="Trainings to verify convergence with, at most.")]
StepsOption = Annotated[int, typer.Option("--steps", help="Steps of each of these trainings.")]
MarginOption = Annotated[str, typer.Option("--margin", help="Difference in final loss that does not matter.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="The folder that holds runs.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the report is printed.")]
PageOption = Annotated[
    Path | None, typer.Option("--output", help="With --format html, the file to write; - is the standard output.")
]


def remark(sentence: str) -> None:
    """Say something on how a workload was understood."""
    typer.echo(f"{sentence}.", err=True)


def measured(
    request: Request, results: Path, resume: str | None = None, budget_s: float | None = None, *, tuned: bool = False
) -> tuple[Run, Path]:
    """A new run, or an old one continued, measured to its end; and its folder."""
    from stepbench.commands.run import run
    from stepbench.report.progress import shown

    with shown() as progress:
        return run(request, results, progress.progress, remark, resume=resume, tuned=tuned, budget_s=budget_s)


def finish(run: Run, folder: Path, output: Format) -> NoReturn:
    """Print the report and exit: failed or different cases are a finding, a run without any number is useless."""
    from stepbench.judge.training import Verdict
    from stepbench.report.case_summary import Status

    cases = print_report(run, output, folder=folder).cases
    if output is not Format.HTML:
        say_where(folder)
    without_trace = {found.case.id for found in run.measurements if found.trace_failure}
    only_traced = run.plan.tracing is not None and run.plan.verification is None and not run.plan.replicates
    failed = sum(case.status is Status.FAILED or (only_traced and case.id in without_trace) for case in cases)
    if failed == len(cases):
        raise StepbenchError("No case could be measured: the reasons are given with the table.")
    verdicts = {case.equivalence.verdict for case in cases}
    unverified = run.plan.verification is not None and Verdict.NOT_CHECKED in verdicts
    if failed or Verdict.DIFFERENT in verdicts:
        raise typer.Exit(EXIT_FINDING)
    only_verified = not run.plan.replicates
    raise typer.Exit(
        EXIT_INCONCLUSIVE if only_verified and (unverified or Verdict.INCONCLUSIVE in verdicts) else EXIT_FINE
    )


def print_report(
    run: Run, output: Format, only: Container[str] | None = None, *, folder: Path, page: Path | None = None
) -> Summary:
    """Print the report, of certain cases alone if asked, which then shows their operations too.

    Args:
        run: what to report.
        output: how.
        only: the ids of the cases; all if None.
        folder: the run's, in which its page is left.
        page: where else the page is to go.
    """
    summary = summarized(run, only)
    match output:
        case Format.TEXT:
            from stepbench.report.report import print_summary

            print_summary(summary, operations=only is not None)
        case Format.CSV:
            from stepbench.report.spreadsheet import summary_csv

            typer.echo(summary_csv(summary), nl=False)
        case Format.HTML:
            from stepbench.report.html.report import page as html

            put_page(html(run, summary), page or report_file(folder))
        case _:
            from stepbench.report.report import chapters

            print_found(output, summary, chapters(summary))
    return summary


def print_found(output: Format, found: object, chapters: Chapters) -> None:
    """Print what was found: for programs as JSON, or what people read of it, as markdown or as text."""
    if output is Format.JSON:
        print_json(found)
    elif output is Format.MARKDOWN:
        from stepbench.report.markdown import markdown

        typer.echo(markdown(chapters), nl=False)
    else:
        from stepbench.report.text import print_chapters

        print_chapters(chapters)


def summarized(run: Run, only: Container[str] | None = None) -> Summary:
    """The summary of a run, or of certain of its cases; of an unfinished one it is said how to continue it."""
    from stepbench.report.summary import restricted, summarize

    if not run.finished:
        typer.echo(f"This run is unfinished: continue it with 'stepbench run --resume {run.run_id}'.", err=True)
    return summarize(run) if only is None else restricted(summarize(run), only)


def report_file(folder: Path) -> Path:
    """Where the page of the run or the gate in ``folder`` is."""
    from stepbench.report.html.files import REPORT_FILE

    return folder / REPORT_FILE


def say_where(folder: Path) -> None:
    """Say where the page in ``folder`` is, if there is one, beside what is printed."""
    if report_file(folder).exists():
        typer.echo(f"With figures: {report_file(folder)}", err=True)


def put_page(page: str, path: Path) -> None:
    """Write a page and say where it is, or print it."""
    if str(path) == "-":
        typer.echo(page.encode(), nl=False)
        return
    from stepbench.report.html.files import write_page

    write_page(page, path)
    typer.echo(f"The page is {path}.")


def check_page_option(output: StrEnum, page: Path | None) -> None:
    """Refuse ``--output`` for what is printed.

    Raises:
        StepbenchError: when it is given with another format.
    """
    if page is not None and output != Format.HTML:
        raise StepbenchError(f"--output goes with --format html: redirect the {output} with '>' instead.")


def print_json(what: object) -> None:
    """Print a structure as indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(what), indent=1).decode())
