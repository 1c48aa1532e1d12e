"""The command ``tensorboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.shared import ResultsOption


def tensorboard(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id or folder.")] = "latest",
    results: ResultsOption = Path("results"),
    port: Annotated[int | None, typer.Option(help="A free one from 6006 on, if not given.")] = None,
) -> None:
    """Serve a run's traces, curves and tables in TensorBoard, to this machine alone, until interrupted."""
    from stepbench.commands.tensorboard import serve_tensorboard

    serve_tensorboard(run_name, results, port, typer.echo)
