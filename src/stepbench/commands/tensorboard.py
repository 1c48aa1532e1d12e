"""The command ``tensorboard``: a run's traces, curves and tables, served to this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stepbench.errors import StepbenchError
from stepbench.records.store import LOGS_FOLDER, TENSORBOARD_FOLDER, Store


def serve_tensorboard(run_name: str, results: Path, port: int | None, say: Callable[[str], None]) -> None:
    """Serve a run in TensorBoard on loopback until interrupted.

    Raises:
        StepbenchError: when there is no such run, nothing to be seen of it, or no port to serve it on.
    """
    from stepbench.report.serving import serve
    from stepbench.report.summary import summarize
    from stepbench.report.tensorboard import has_content, write_logdir

    store = Store(results)
    run = store.read(run_name)
    if not has_content(run):
        raise StepbenchError(
            f"Run {run.run_id} has no traces, curves or figures to show: see why with 'stepbench report {run_name}'."
        )
    folder = store.locate(run_name)
    write_logdir(run, summarize(run), folder / TENSORBOARD_FOLDER)
    serve(folder / TENSORBOARD_FOLDER, port, folder / LOGS_FOLDER / "tensorboard.log", say)
