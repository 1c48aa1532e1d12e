"""The command that trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import help_of
from stepbench.cli.shared import EXIT_FINDING, EXIT_FINE
from stepbench.commands import options
from stepbench.commands.request import OPTIONS, Request, measuring_request

DEFAULT = {name: option.default for name, option in OPTIONS.items()}


def train(
    workload: Annotated[str, help_of("workload")] = DEFAULT["workload"],
    execution: Annotated[str, typer.Option(help="eager, graph, xla, keras, or a plugin's.")] = "graph",
    precision: Annotated[str, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    batch_size: Annotated[str, typer.Option(help="Examples a step.")] = DEFAULT["batch_size"],
    steps_per_call: Annotated[str, typer.Option(help="Steps in one call of a compiled function.")] = OPTIONS[
        "steps_per_call"
    ].default,
    epochs: Annotated[str, typer.Option(help="Passes over the training set.")] = "10",
    seed: Annotated[int, typer.Option(help="Of the initial weights, and of the order with --shuffle.")] = Request.seed,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Visit examples in random order, not as published.")
    ] = False,
    data: Annotated[str, help_of("data")] = Request.data,
    limit: Annotated[int | None, typer.Option(help="Use only so many training examples.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Save each epoch here, and continue from the newest.")] = None,
    plugin: Annotated[list[str] | None, help_of("plugin")] = None,
) -> None:
    """Train a workload with one variant and evaluate it."""
    from stepbench.commands.train import TrainRequest
    from stepbench.commands.train import train as run_training
    from stepbench.report.train import TrainingView

    asked = TrainRequest(
        measuring_request(
            workload=workload,
            execution=execution,
            precision=precision,
            device=device,
            batch_size=batch_size,
            steps_per_call=steps_per_call,
            data=data,
            plugin=plugin,
            seed=seed,
        ),
        epochs=options.one("--epochs", options.numbers("--epochs", epochs)),
        shuffle=shuffle,
        limit=limit,
        checkpoint=checkpoint,
    )
    with TrainingView() as view:
        evaluation = run_training(asked, view)
    # A training that diverged is a finding.
    raise typer.Exit(EXIT_FINE if math.isfinite(evaluation.loss or 0.0) else EXIT_FINDING)
