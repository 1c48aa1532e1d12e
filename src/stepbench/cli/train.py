"""The command that trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.shared import EXIT_FINDING, EXIT_FINE, DataOption, PluginOption, WorkloadsOption
from stepbench.commands import options
from stepbench.records.cases import Device, Precision


def train(
    workload: WorkloadsOption = "cifar-cnn",
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
    from stepbench.commands.run import TrainRequest, train_workload
    from stepbench.records.cases import Case, Variant
    from stepbench.report.train import TrainingView

    request = TrainRequest(
        locator=options.workload_locator(options.one("--workload", options.names("--workload", workload))),
        case=Case(
            "unnamed",
            Variant(execution, options.one("--precision", options.choices("--precision", precision, Precision))),
            options.one("--device", options.choices("--device", device, Device)),
            options.one("--batch-size", options.numbers("--batch-size", batch_size)),
            options.one("--steps-per-call", options.numbers("--steps-per-call", steps_per_call)),
        ),
        epochs=options.one("--epochs", options.numbers("--epochs", epochs)),
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
