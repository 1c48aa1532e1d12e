"""One function a command: the only place that sees measuring, storing and training together."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepbench.commands.plan import check_execution
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.judge.reference_curve import applies_to, read_curves
from stepbench.records.store import LOGS_FOLDER, TENSORBOARD_FOLDER, Journal, Run, Store

if TYPE_CHECKING:
    from stepbench.commands.plan import Planned
    from stepbench.records.cases import Case
    from stepbench.records.progress import Progress
    from stepbench.report.explain import Explained
    from stepbench.report.train import TrainingView
    from stepbench.training.checkpoint import Checkpoints
    from stepbench.training.evaluation import Evaluation


def command_line() -> tuple[str, ...]:
    """The command that is being run, its program without the folder."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and Path(sys.argv[0]).name == "__main__.py":
        return ("python", "-m", spec.parent, *sys.argv[1:])
    return (Path(sys.argv[0]).name, *sys.argv[1:])


def start_run(planned: Planned, store: Store) -> Run:
    """Create the folder of a new run.

    Raises:
        StepbenchError: when it cannot be written.
    """
    from stepbench.probes.environment import collect

    return store.create(planned.plan, collect(Path.cwd()), command=command_line(), data=planned.data)


def measure_run(
    run: Run, store: Store, report: Callable[[Progress], None] = lambda _: None, budget_s: float | None = None
) -> Run:
    """Measure what remains of ``run`` and give it back complete.

    Raises:
        InterruptedRunError: on Ctrl-C; what was measured is on disk.
        StepbenchError: when the run's folder cannot be written.
    """
    from stepbench.engine.limits import assess
    from stepbench.engine.profile import profile
    from stepbench.engine.rounds import measure, remaining_teams
    from stepbench.engine.verify import verify

    folder = store.folder(run.run_id)
    teams = remaining_teams(run.plan, run.measurements)
    try:
        with Journal(folder) as journal:
            measure(run.plan, teams, journal, folder / LOGS_FOLDER, report, budget_s)
            if run.plan.replicates:
                timed = store.read(run.run_id)
                attainable = assess(timed.plan, timed.measurements, timed.attainable, journal, folder, report)
                store.write(msgspec.structs.replace(timed, attainable=attainable))
            if run.plan.tracing:
                profile(run.plan, store.read(run.run_id).measurements, journal, folder, report)
            if run.plan.verification:
                verify(run.plan, store.read(run.run_id).measurements, journal, folder, report)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; what was measured is kept: continue with 'stepbench run --resume {run.run_id}'."
        ) from None
    measured = store.read(run.run_id)
    complete = msgspec.structs.replace(measured, finished=dt.datetime.now(dt.UTC))
    store.write(complete)
    _show(complete, folder)
    return complete


def explain_cases(a: str, b: str, run_name: str, results: Path) -> Explained:
    """Account for the difference between two traced cases, named by their ids or parts of them.

    Args:
        a: a case; ``RUN:CASE`` is one of another run.
        b: the other case, likewise.
        run_name: the run that holds them.
        results: the folder that holds runs.

    Raises:
        StepbenchError: when there is no such run, or no such case with a trace in it.
    """
    from stepbench.commands.case_names import choose_pair
    from stepbench.report.explain import explained, traced

    runs, names, with_traces = [], [], []
    for name in (a, b):
        other, colon, case = name.rpartition(":")
        run = Store(results).read(other if colon else run_name)
        runs.append(run)
        names.append(case)
        with_traces.append({found.case: found for found in run.measurements if found.trace})
        if not with_traces[-1]:
            raise StepbenchError(f"Run {run.run_id} has no traces: make some with 'stepbench profile'.")
    same = runs[0].run_id == runs[1].run_id
    first, second = choose_pair(names[0], names[1], *map(list, with_traces), distinct=same)
    return explained(traced(runs[0], with_traces[0][first]), traced(runs[1], with_traces[1][second]))


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


def _show(run: Run, folder: Path) -> None:
    """Leave what shows a run beside it: its files for TensorBoard and its page."""
    from stepbench.report.html.files import REPORT_FILE, leave_page
    from stepbench.report.summary import summarize
    from stepbench.report.tensorboard import write_logdir

    summary = summarize(run)
    write_logdir(run, summary, folder / TENSORBOARD_FOLDER)

    def draw() -> str:
        from stepbench.report.html.report import page

        return page(run, summary)

    leave_page(draw, folder / REPORT_FILE)


@dataclass(frozen=True)
class TrainRequest:
    """What ``stepbench train`` is asked for. The case's workload name is filled in once the workload is loaded."""

    locator: str
    case: Case
    epochs: int
    seed: int
    shuffle: bool
    data: str
    limit: int | None
    checkpoint: Path | None
    plugins: tuple[str, ...]


def train_workload(request: TrainRequest, view: TrainingView) -> Evaluation:
    """Train in this process, showing each epoch on ``view``, and evaluate.

    Raises:
        StepbenchError: when something that the request names does not exist or cannot be.
    """
    from stepbench.training.data import resolve_source

    # TensorFlow's remarks on this machine are for 'run', which keeps them in its logs; here they bury the epochs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    source = resolve_source(request.data, limit=request.limit)  # A misspelt folder need not wait for TensorFlow.
    check_execution(request.case.variant.execution, request.plugins)
    from stepbench.training.loop import Order, Trainer
    from stepbench.training.workload import import_user_module, load_workload

    for plugin in request.plugins:
        import_user_module(plugin)
    workload = load_workload(request.locator)
    dataset = workload.data(source)
    if request.limit:
        dataset = dataset.limited(request.limit)
    case = msgspec.structs.replace(request.case, workload=workload.name)
    trainer = Trainer(case, workload, dataset, Order(request.seed, request.shuffle))
    view.begin(trainer.state.model, case.id, source.name, request.epochs)
    checkpoints = _checkpoints(request, case, source.name)
    epochs = list(checkpoints.restore(trainer.state, request.epochs) if checkpoints else ())
    view.restored(epochs)
    for number in range(len(epochs) + 1, request.epochs + 1):
        with view.epoch(number, trainer.steps_per_epoch) as on_steps:
            epochs.append(trainer.run_epoch(number, on_steps))
        view.epoch_done(epochs[-1])
        if checkpoints:
            checkpoints.save(trainer.state, epochs)
    evaluation = trainer.evaluate()
    view.end(epochs, evaluation)
    if applies_to(case, source.name, shuffled=request.shuffle, limited=request.limit is not None):
        view.compare([epoch.loss for epoch in epochs], read_curves())
    return evaluation


def _checkpoints(request: TrainRequest, case: Case, data: str) -> Checkpoints | None:
    from stepbench.training.checkpoint import Checkpoints

    if request.checkpoint is None:
        return None
    training: dict[str, str | int | bool] = {
        "case": case.id,
        "data": data,
        "seed": request.seed,
        "shuffling": request.shuffle,
        "limit": request.limit or 0,
    }
    return Checkpoints(request.checkpoint, training)
