"""The command ``train``: the training loop of one case."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepbench.commands.options import one
from stepbench.commands.plan import UNNAMED, check_execution, checked
from stepbench.commands.request import Request
from stepbench.judge.reference_curve import applies_to, read_curves
from stepbench.records.cases import Case, Device, Variant

if TYPE_CHECKING:
    from stepbench.report.training import TrainingView
    from stepbench.training.checkpoint import Checkpoints
    from stepbench.training.evaluation import Evaluation
    from stepbench.training.loop import Trainer
    from stepbench.training.workload import DataSource


@dataclass(frozen=True)
class TrainRequest:
    """What ``stepbench train`` is asked for."""

    request: Request
    """Of one case."""
    epochs: int
    shuffle: bool
    limit: int | None
    checkpoint: Path | None


def train(asked: TrainRequest, view: TrainingView) -> Evaluation:
    """Train in this process, showing each epoch on ``view``, and evaluate.

    Raises:
        StepbenchError: when something that is asked for does not exist or cannot be, or is more than one case.
    """
    from stepbench.training.data import resolve_source

    # TensorFlow's remarks on this machine are for 'run', which keeps them in its logs; here they bury the epochs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    case = _only_case(asked.request)
    source = resolve_source(asked.request.data, limit=asked.limit)  # A misspelt folder need not wait for TensorFlow.
    check_execution(case.variant.execution, asked.request.plugins)
    trainer = _trainer(asked, case, source)
    case = trainer.case
    view.begin(trainer.state.keras_model, case.id, source.name, asked.epochs)
    checkpoints = _checkpoints(asked, case, source.name)
    epochs = list(checkpoints.restore(trainer.state, asked.epochs) if checkpoints else ())
    view.restored(epochs)
    for number in range(len(epochs) + 1, asked.epochs + 1):
        with view.epoch(number, trainer.steps_per_epoch) as on_steps:
            epochs.append(trainer.run_epoch(number, on_steps))
        view.epoch_done(epochs[-1])
        if checkpoints:
            checkpoints.save(trainer.state, epochs)
    evaluation = trainer.evaluate()
    view.end(epochs, evaluation)
    if applies_to(case, source.name, shuffled=asked.shuffle, limited=asked.limit is not None):
        view.compare([epoch.loss for epoch in epochs], read_curves())
    return evaluation


def _only_case(request: Request) -> Case:
    """Its workload's name is known once that is loaded."""
    return Case(
        UNNAMED,
        Variant(one("--execution", request.executions), one("--precision", request.precisions)),
        one("--device", request.devices or tuple(Device)),
        one("--batch-size", request.batch_sizes or (1,)),
        one("--steps-per-call", request.steps_per_call),
    )


def _trainer(asked: TrainRequest, case: Case, source: DataSource) -> Trainer:
    from stepbench.training.locate import import_user_module, load_workload
    from stepbench.training.loop import Order, Trainer
    from stepbench.training.task import open_task

    locator = one("--workload", checked(asked.request).workloads)
    for plugin in asked.request.plugins:
        import_user_module(plugin)
    workload = load_workload(locator)
    named = msgspec.structs.replace(case, workload=workload.name)
    order = Order(asked.request.seed, asked.shuffle)
    return Trainer(named, open_task(workload, source), order, has_own_batch_size=not asked.request.batch_sizes)


def _checkpoints(asked: TrainRequest, case: Case, data: str) -> Checkpoints | None:
    from stepbench.training.checkpoint import Checkpoints

    if asked.checkpoint is None:
        return None
    training: dict[str, str | int | bool] = {
        "case": case.id,
        "data": data,
        "seed": asked.request.seed,
        "shuffling": asked.shuffle,
        "limit": asked.limit or 0,
    }
    return Checkpoints(asked.checkpoint, training)
