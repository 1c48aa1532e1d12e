"""Steps of a training that the reference takes too, from where the training was: what begins late is seen there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import forcing
import kinds
import pytest
import tensorflow as tf
from marks import few

import stepbench
from stepbench.judge.one_step import complaints_of
from stepbench.records.cases import EAGER, GRAPH, XLA
from stepbench.records.protocol import Train
from stepbench.records.verify import Point
from stepbench.training.state import TrainState
from stepbench.training.task import Task, open_task
from stepbench.worker import verify
from stepbench.worker.reference import ReferenceMaker
from stepbench.worker.verify import Verifier

pytestmark = pytest.mark.tensorflow

STEPS = 12
POINTS = (2, 9)


@stepbench.variant("late-loss")
def late_loss(state: TrainState) -> Any:
    """From the sixth step on the loss is too large, and its gradients too; what optimizers make of these is right."""
    calls = tf.Variable(0)
    original = state.model.compute_loss

    def larger(*args: Any, **kwargs: Any) -> Any:
        loss = original(*args, **kwargs)
        return loss * tf.cast(tf.where(calls > STEPS // 2, 1.5, 1.0), loss.dtype)

    state.model.compute_loss = larger

    def step(*parts: Any) -> Any:
        calls.assign_add(1)
        return state.step(parts)

    return tf.function(step, autograph=False)


def recomputed(
    workload: forcing.Kind, execution: str, precision: str, folder: Path, patch: pytest.MonkeyPatch
) -> tuple[Point, ...]:
    """Two steps of a training, compared."""
    task = open_task(workload, forcing.SOURCE)

    def given(*_: Any) -> Task:
        return task

    patch.setattr(verify, "task_named", given)
    case = forcing.case_of(execution, precision)
    order = Train(case, "kind", (), "synthetic", 0, STEPS, (), POINTS, str(folder / "kept"))
    with forcing.own_tapes():
        maker = ReferenceMaker(task, (case,), seed=0)
        maker.make(POINTS[:1], folder)
    with forcing.own_tapes():
        Verifier(order).train(order)
    return maker.recompute(case, folder / "kept")


INNOCENT = [
    ("dense", GRAPH, "float32"),
    ("embedding", XLA, "mixed_bfloat16"),
    ("normalised", GRAPH, "mixed_float16"),
    ("dropped", GRAPH, "float32"),
    ("unused-head", GRAPH, "mixed_bfloat16"),
    ("two-passes", GRAPH, "mixed_float16"),
    ("loop", EAGER, "float32"),
    ("stateful", GRAPH, "float32"),
]


@pytest.mark.parametrize(
    ("name", "execution", "precision"),
    few(("dense", GRAPH, "float32"), of=INNOCENT),
)
def test_an_innocent_trainings_steps_are_the_references_from_where_it_was(
    name: str, execution: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = recomputed(kinds.KINDS[name], execution, precision, tmp_path, monkeypatch)
    assert len(points) == len(POINTS)
    assert all(point.loss.error is not None and point.changes for point in points)
    assert complaints_of(points) == ()


@pytest.mark.parametrize(
    ("name", "precision"),
    few(("embedding", "mixed_bfloat16"), of=[("embedding", "mixed_bfloat16"), ("dense", "float32")]),
)
def test_a_loss_that_is_wrong_from_some_step_on_is_seen_there(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = recomputed(kinds.KINDS[name], "late-loss", precision, tmp_path, monkeypatch)
    assert complaints_of(points[:1]) == ()
    assert any(complaint.startswith("loss is 1.5") for complaint in complaints_of(points[1:]))
