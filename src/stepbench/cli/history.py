"""Commands about many stored runs: history, and baseline with its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench import options
from stepbench.cli.shared import Format, FormatOption, ResultsOption, print_json, print_report
from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from stepbench.reporting.grid import Grid
    from stepbench.reporting.run_list import RunList
    from stepbench.store import Brief, Briefs

PLOT_SUFFIXES = (".svg", ".png")

baseline = typer.Typer(
    name="baseline",
    help="Keep a run under a name, to compare others with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The baseline's name.")]


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
    from stepbench.store import read_briefs

    _refuse_page(output)
    if last is not None:
        options.at_least_one("--last", last)
    if plot and plot.suffix not in PLOT_SUFFIXES:
        raise StepbenchError(f"--output draws {' and '.join(PLOT_SUFFIXES)} files: give FILE one of these endings.")
    if plot and case is None:
        raise StepbenchError("--output draws the history of a case: name the case.")
    runs = _readable(read_briefs(results))
    if not runs:
        raise StepbenchError(f"There is no run in {results} to be read: make one with 'stepbench run'.")
    if case is None:
        from stepbench.reporting.run_list import runs_grid

        listed = _listed(runs[-(last or 0) :])
        _print_list(listed, runs_grid(listed), output)
    else:
        _print_history(case, runs, last, plot, output)


def _print_history(case: str, runs: tuple[Brief, ...], last: int | None, plot: Path | None, output: Format) -> None:
    from stepbench.naming import choose_case
    from stepbench.reporting.history import history_csv, history_grid, history_of

    known = tuple(dict.fromkeys(planned for run in runs for planned in run.plan.cases))
    found = history_of(choose_case(case, known), runs, last)
    match output:
        case Format.JSON:
            print_json(found)
        case Format.CSV:
            typer.echo(history_csv(found), nl=False)
        case _:
            _print_grid(history_grid(found), output)
    if plot:
        from stepbench.reporting.history_plot import write_plot

        write_plot(found, plot)


@baseline.command()
def save(
    name: NameArgument,
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    force: Annotated[bool, typer.Option("--force", help="Replace a baseline of that name.")] = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Keep a copy of a run, which RUN then finds by NAME."""
    from stepbench.store import Store, save_baseline

    path = save_baseline(Store(results), name, run_name, replace=force)
    typer.echo(f"Baseline {name} is kept in {path}.")


@baseline.command("list")
def list_baselines(results: ResultsOption = Path("results"), output: FormatOption = Format.TEXT) -> None:
    """List the baselines, and which of them are of this machine."""
    from stepbench.reporting.run_list import baselines_grid
    from stepbench.store import Store, baselines_of

    _refuse_page(output)
    listed = _listed(_readable(baselines_of(Store(results))))
    _print_list(listed, baselines_grid(listed), output)


@baseline.command()
def show(name: NameArgument, results: ResultsOption = Path("results"), output: FormatOption = Format.TEXT) -> None:
    """Print the report of a baseline, and whether it is of this machine."""
    from stepbench.measuring.environment import collect
    from stepbench.reporting.run_list import whose_machine
    from stepbench.store import Store, read_baseline

    store = Store(results)
    found = read_baseline(store, name)
    print_report(found, output, folder=store.locate(name))
    # What programs read stays alone on the output.
    typer.echo(whose_machine(name, found.environment, collect(Path.cwd())), err=output is not Format.TEXT)


def _refuse_page(output: Format) -> None:
    if output is Format.HTML:
        raise StepbenchError("This is no page: use --format text, json, markdown or csv.")


def _readable(briefs: Briefs) -> tuple[Brief, ...]:
    """The runs; of those that cannot be read a line is said beside the output."""
    for problem in briefs.problems:
        typer.echo(f"stepbench: {' '.join(problem.split())}", err=True)
    return briefs.runs


def _listed(runs: tuple[Brief, ...]) -> RunList:
    from stepbench.measuring.environment import collect
    from stepbench.reporting.run_list import list_runs

    return list_runs(runs, collect(Path.cwd()).fingerprint)


def _print_list(listed: RunList, grid: Grid, output: Format) -> None:
    match output:
        case Format.JSON:
            print_json(listed)
        case Format.CSV:
            from stepbench.reporting.run_list import run_list_csv

            typer.echo(run_list_csv(listed), nl=False)
        case _:
            _print_grid(grid, output)


def _print_grid(grid: Grid, output: Format) -> None:
    from stepbench.reporting.grid import markdown_grid, print_grid

    if output is Format.MARKDOWN:
        typer.echo(markdown_grid(grid), nl=False)
    else:
        print_grid(grid)
