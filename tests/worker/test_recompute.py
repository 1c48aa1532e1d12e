"""Steps of a training that the reference takes too, from where the training was: what begins late is seen there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import forcing
import kinds
import pytest
from forcing import case_of
from marks import few

from stepbench.judge.one_step import complaints_of
from stepbench.records.cases import BEGINS_AFTER, EAGER, GRAPH, XLA, Case
from stepbench.records.protocol import Train
from stepbench.records.verify import Point
from stepbench.training.task import Task, open_task
from stepbench.worker import verify
from stepbench.worker.reference import ReferenceMaker
from stepbench.worker.verify import Verifier

pytestmark = pytest.mark.tensorflow

STEPS = 12
POINTS = (2, 9)


def recomputed(workload: forcing.Kind, case: Case, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Point, ...]:
    """Two steps of a training, compared."""
    task = open_task(workload, forcing.SOURCE)

    def given(*_: Any) -> Task:
        return task

    patch.setattr(verify, "task_named", given)
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


@pytest.mark.parametrize(("name", "execution", "precision"), few(("dense", GRAPH, "float32"), of=INNOCENT))
def test_an_innocent_trainings_steps_are_the_references_from_where_it_was(
    name: str, execution: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = recomputed(kinds.KINDS[name], case_of(execution, precision), tmp_path, monkeypatch)
    assert len(points) == len(POINTS)
    assert all(point.loss.error is not None and point.gradients for point in points)
    assert complaints_of(points) == ()


@pytest.mark.parametrize(
    ("name", "precision"),
    few(("embedding", "mixed_bfloat16"), of=[("embedding", "mixed_bfloat16"), ("dense", "float32")]),
)
def test_a_loss_that_is_wrong_from_some_step_on_is_seen_there(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BEGINS_AFTER, "planted-late-loss", STEPS // 2)
    points = recomputed(kinds.KINDS[name], case_of("planted-late-loss", precision), tmp_path, monkeypatch)
    assert complaints_of(points[:1]) == ()
    said = complaints_of(points[1:])  # Of the loss and all gradients, of which the first few are told.
    assert any("is 2.000× as long as it should be" in complaint for complaint in said), said


@pytest.mark.slow
def test_so_are_those_of_calls_of_several_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = recomputed(kinds.KINDS["dense"], case_of(GRAPH, steps_per_call=3), tmp_path, monkeypatch)
    assert [point.step for point in points] == [0, 9], "the first of a call"
    assert all(point.changes for point in points)
    assert complaints_of(points) == ()
