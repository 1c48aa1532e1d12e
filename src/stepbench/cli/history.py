"""The command ``history``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench.cli.run_lists import listed_here, print_list, readable, refuse_page
from stepbench.cli.shared import Format, FormatOption, ResultsOption, print_found
from stepbench.commands import options
from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.records.store import Brief
    from stepbench.report.history import History

PLOT_SUFFIXES = (".svg", ".png")


def history(
    case: Annotated[
        str | None,
        typer.Argument(metavar="[CASE]", help="A case's id, or enough of it. Without one, the runs are listed."),
    ] = None,
    last: Annotated[int | None, typer.Option(help="Only so many runs, as if there were no older ones.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Draw it too, in a file named .svg or .png.")
    ] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Follow a case over the stored runs, with the points where its step time changed for good."""
    from stepbench.records.store import read_briefs

    refuse_page(output)
    if last is not None:
        options.at_least_one("--last", last)
    if plot and plot.suffix not in PLOT_SUFFIXES:
        raise StepbenchError(f"--output draws {' and '.join(PLOT_SUFFIXES)} files: give FILE one of these endings.")
    if plot and case is None:
        raise StepbenchError("--output draws the history of a case: name the case.")
    runs = readable(read_briefs(results))
    if not runs:
        raise StepbenchError(f"There is no run in {results} to be read: make one with 'stepbench run'.")
    if case is None:
        from stepbench.report.run_list import run_blocks

        listed = listed_here(runs[-(last or 0) :])
        print_list(listed, run_blocks(listed), output)
    else:
        _print_history(case, runs, last, plot, output)


def _print_history(case: str, runs: tuple[Brief, ...], last: int | None, plot: Path | None, output: Format) -> None:
    from stepbench.commands.case_names import choose_case
    from stepbench.report.history import blocks, history_csv, history_of

    known = tuple(dict.fromkeys(planned for run in runs for planned in run.plan.cases))
    found = history_of(choose_case(case, known), runs, last)
    if output is Format.CSV:
        typer.echo(history_csv(found), nl=False)
    else:
        print_found(output, found, [blocks(found)])
    if plot:
        _draw(found, plot)


def _draw(found: History, plot: Path) -> None:
    from stepbench.report.history_plot import write_plot

    try:
        write_plot(found, plot)
    except OSError as error:
        raise StepbenchError(
            f"{plot} cannot be written ({error.strerror}): choose another place with --output."
        ) from error
