"""The command ``baseline``, with commands of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.run_lists import listed_here, print_list, readable, refuse_page
from stepbench.cli.shared import Format, FormatOption, ResultsOption, print_report

baseline = typer.Typer(
    name="baseline",
    help="Keep a run under a name, to compare others with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The baseline's name.")]


@baseline.command()
def save(
    name: NameArgument,
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    force: Annotated[bool, typer.Option("--force", help="Replace a baseline of that name.")] = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Keep a copy of a run, which RUN then finds by NAME."""
    from stepbench.records.store import Store, save_baseline

    path = save_baseline(Store(results), name, run_name, replace=force)
    typer.echo(f"Baseline {name} is kept in {path}.")


@baseline.command("list")
def list_baselines(results: ResultsOption = Path("results"), output: FormatOption = Format.TEXT) -> None:
    """List the baselines, and which of them are of this machine."""
    from stepbench.records.store import Store, baselines_of
    from stepbench.report.run_list import baseline_blocks

    refuse_page(output)
    listed = listed_here(readable(baselines_of(Store(results))))
    print_list(listed, baseline_blocks(listed), output)


@baseline.command()
def show(name: NameArgument, results: ResultsOption = Path("results"), output: FormatOption = Format.TEXT) -> None:
    """Print the report of a baseline, and whether it is of this machine."""
    from stepbench.probes.environment import collect
    from stepbench.records.store import Store, read_baseline
    from stepbench.report.run_list import whose_machine

    store = Store(results)
    found = read_baseline(store, name)
    print_report(found, output, folder=store.locate(name))
    # What programs read stays alone on the output.
    typer.echo(whose_machine(name, found.environment, collect(Path.cwd())), err=output is not Format.TEXT)
