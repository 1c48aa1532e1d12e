"""The command line: parse, call one command, print, exit code."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from stepbench import options
from stepbench.errors import StepbenchError
from stepbench.spec import DEFAULT_EXECUTIONS, Device, Precision

if TYPE_CHECKING:
    from stepbench.store import Run

EXIT_FINE = 0
EXIT_FINDING = 1

app = typer.Typer(
    name="stepbench",
    help="Which way of executing a TensorFlow training step is fastest on this machine?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"


WorkloadOption = Annotated[
    str, typer.Option(help="A built-in name, package.module:attribute or path/to/file.py:attribute.")
]
WorkloadsOption = Annotated[str, typer.Option("--workload", help="Comma list; see 'train --help'.")]
ExecutionsOption = Annotated[
    str, typer.Option("--execution", help="Comma list of eager, graph, xla, keras or plugins'.")
]
PrecisionsOption = Annotated[
    str, typer.Option("--precision", help="Comma list of float32, mixed_bfloat16, mixed_float16.")
]
DevicesOption = Annotated[str, typer.Option("--device", help="Comma list of cpu, gpu, or all that are present.")]
BatchSizesOption = Annotated[str, typer.Option("--batch-size", help="Comma list.")]
StepsPerCallOption = Annotated[str, typer.Option("--steps-per-call", help="Comma list; above 1 for compiled steps.")]
DataOption = Annotated[str, typer.Option(help="auto, cifar10, synthetic, or a folder with CIFAR-10 as published.")]
PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", help="A file or module that registers variants; repeatable.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="The folder that holds runs.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the report is printed.")]


@app.command()
def run(
    workload: WorkloadsOption = "cifar-cnn",
    execution: ExecutionsOption = ",".join(DEFAULT_EXECUTIONS),
    precision: PrecisionsOption = ",".join(Precision),
    device: DevicesOption = "all",
    batch_size: BatchSizesOption = "64",
    steps_per_call: StepsPerCallOption = "1",
    data: DataOption = "auto",
    plugin: PluginOption = None,
    replicates: Annotated[int, typer.Option(help="Fresh processes for each case.")] = 4,
    rounds: Annotated[int, typer.Option(help="Blocks of each case in one process.")] = 8,
    budget: Annotated[str | None, typer.Option(help="About how long to measure at most, such as 4m.")] = None,
    timeout: Annotated[str, typer.Option(help="How long a case may take to start or to run one block.")] = "120s",
    input_pipeline: Annotated[bool, typer.Option(help="Also time a tf.data pipeline.")] = True,
    seed: Annotated[int, typer.Option(help="Of initial weights and of the order of measuring.")] = 0,
    resume: Annotated[str | None, typer.Option(help="Continue this run: its id, a path, or 'latest'.")] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Measure cases in interleaved worker processes and print the table."""
    from stepbench.commands import make_plan, measure_run, start_run
    from stepbench.reporting.progress import shown
    from stepbench.store import Store

    store = Store(results)
    budget_s = options.duration("--budget", budget) if budget else None
    with shown() as report:
        if resume:
            measured = store.read(resume)
        else:
            request = options.measuring_request(
                workload=workload,
                execution=execution,
                precision=precision,
                device=device,
                batch_size=batch_size,
                steps_per_call=steps_per_call,
                data=data,
                plugin=plugin or (),
                replicates=replicates,
                rounds=rounds,
                timeout=timeout,
                input_pipeline=input_pipeline,
                seed=seed,
            )
            store.check_writable()
            report.say("looking at the workload and the devices")
            measured = start_run(make_plan(request), store)
        if not measured.finished:
            measured = measure_run(measured, store, report.progress, budget_s)
    _finish(measured, output)


@app.command()
def report(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Print a stored run."""
    from stepbench.store import Store

    _print_report(Store(results).read(run_name), output)


@app.command()
def train(
    workload: WorkloadOption = "cifar-cnn",
    execution: Annotated[str, typer.Option(help="eager, graph, xla, keras, or a plugin's.")] = "graph",
    precision: Annotated[str, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    batch_size: Annotated[str, typer.Option(help="Examples a step.")] = "64",
    steps_per_call: Annotated[str, typer.Option(help="Steps in one call of a compiled function.")] = "1",
    epochs: Annotated[str, typer.Option(help="Passes over the training set.")] = "10",
    seed: Annotated[int, typer.Option(help="Of the initial weights, and of the order with --shuffle.")] = 0,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Visit examples in random order, not as published.")
    ] = False,
    data: DataOption = "auto",
    limit: Annotated[int | None, typer.Option(help="Use only so many training examples.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Save each epoch here, and continue from the newest.")] = None,
    plugin: PluginOption = None,
) -> None:
    """Train a workload with one variant and evaluate it."""
    from stepbench.commands import TrainRequest, train_workload
    from stepbench.reporting.training import TrainingView
    from stepbench.spec import Case, Variant

    request = TrainRequest(
        locator=options.workload_locator(workload),
        case=Case(
            "unnamed",
            Variant(execution, *options.choices("--precision", precision, Precision)[:1]),
            options.choices("--device", device, Device)[0],
            options.numbers("--batch-size", batch_size)[0],
            options.numbers("--steps-per-call", steps_per_call)[0],
        ),
        epochs=options.numbers("--epochs", epochs)[0],
        seed=seed,
        shuffle=shuffle,
        data=data,
        limit=limit,
        checkpoint=checkpoint,
        plugins=tuple(options.plugin_locator(name) for name in plugin or ()),
    )
    with TrainingView() as view:
        evaluation = train_workload(request, view)
    # A training that diverged is a finding.
    raise typer.Exit(EXIT_FINE if math.isfinite(evaluation.loss) else EXIT_FINDING)


def main() -> None:
    """Run the command line; an error is one sentence, and the exit code says what kind."""
    try:
        app()
    except StepbenchError as error:
        # Not through rich: what the user named must come out as it is.
        print(f"stepbench: {error}", file=sys.stderr)  # noqa: T201 - this is where errors are printed.
        sys.exit(error.exit_code)


def _finish(run: Run, output: Format) -> NoReturn:
    """Print the report; failed cases are a finding, and a run without any number is useless."""
    _print_report(run, output)
    failed = sum(measurement.failure is not None for measurement in run.measurements)
    if failed == len(run.measurements):
        raise StepbenchError("No case could be measured: the reasons are given with the table.")
    raise typer.Exit(EXIT_FINDING if failed else EXIT_FINE)


def _print_report(run: Run, output: Format) -> None:
    from stepbench.reporting.summary import summarize

    summary = summarize(run)
    match output:
        case Format.TEXT:
            from stepbench.reporting.terminal import print_summary

            print_summary(summary)
        case Format.JSON:
            import msgspec

            typer.echo(msgspec.json.format(msgspec.json.encode(summary), indent=1).decode())
        case Format.MARKDOWN:
            from stepbench.reporting.markdown import markdown

            typer.echo(markdown(summary), nl=False)
        case Format.CSV:
            from stepbench.reporting.table import comma_separated

            typer.echo(comma_separated(summary), nl=False)


if __name__ == "__main__":
    main()
