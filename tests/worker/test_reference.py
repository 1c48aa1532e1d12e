"""What a step is held against: float64 where that is the same step, its own precision, or nothing, with the reason."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import forcing
import keras
import kinds
import pytest
import tensorflow as tf
from forcing import case_of
from marks import few

import stepbench
from stepbench.errors import StepbenchError
from stepbench.judge.one_step import complaints
from stepbench.records.cases import GRAPH, Case
from stepbench.training.task import open_task
from stepbench.worker.reference import ReferenceMaker
from stepbench.worker.trajectory import load_targets

pytestmark = pytest.mark.tensorflow

BOTH = (case_of(GRAPH), case_of(GRAPH, "mixed_bfloat16"))


@pytest.mark.parametrize("name", few("dense", of=["dense", "stateful", "two-passes", "loop"]))
def test_a_step_that_draws_nothing_is_held_against_float64(name: str) -> None:
    _, header = forcing.trajectory(kinds.KINDS[name], BOTH)
    assert header.references == {"float32": "float64", "mixed_bfloat16": "float64"}
    assert (header.reasons, header.not_comparable, header.is_random) == ({}, None, False)


@pytest.mark.parametrize("workload", [kinds.KINDS["dropped"], kinds.FAINT_DROPPED], ids=lambda one: one.name)
def test_a_step_that_draws_other_numbers_in_float64_is_held_against_its_own_precision(workload: forcing.Kind) -> None:
    _, header = forcing.trajectory(workload, BOTH)
    assert header.references == {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}
    assert set(header.reasons.values()) == {"the step draws other random numbers in float64"}
    assert header.is_random


@pytest.mark.parametrize("case", few(BOTH[0], of=BOTH), ids=lambda case: str(case.variant))
def test_a_step_that_does_something_else_in_float64_is_said_to_and_accuses_nobody(case: Case) -> None:
    precision = case.variant.precision.value
    _, header = forcing.trajectory(kinds.PICKY, (case,))
    assert header.references == {"float32": "float32", precision: precision}
    assert header.reasons[precision] == "in float64 the workload's own step does something else, beyond rounding"
    found = forcing.agreement(kinds.PICKY, case)
    assert found.remark == header.reasons[precision]
    assert complaints(found) == ()


def test_inference_mode_is_seen_though_it_shows_in_one_tiny_gradient_alone() -> None:
    import stepbench.training.planted  # noqa: F401 - it registers the bugs.

    cases = (case_of(GRAPH), case_of("planted-inference-mode"))
    assert complaints(forcing.agreement(kinds.FAINT_DROPPED, *cases)) == ()
    found = complaints(forcing.agreement(kinds.FAINT_DROPPED, *reversed(cases)))
    assert any("gradient of" in complaint for complaint in found)


def test_numbers_that_no_seed_reaches_make_a_step_not_comparable_which_is_said() -> None:
    _, header = forcing.trajectory(kinds.KINDS["unseeded"], BOTH[:1])
    assert header.not_comparable == "the step draws random numbers, or keeps a state, that no seed reaches"
    found = forcing.agreement(kinds.KINDS["unseeded"], BOTH[0])
    assert found.not_comparable == header.not_comparable
    assert complaints(found) == ()
    assert all(point.updates for point in found.points), "its optimizer is judged nevertheless"


@pytest.mark.slow
@pytest.mark.parametrize("workload", [kinds.NARROW, kinds.UNBUILDABLE], ids=lambda one: one.name)
def test_a_step_without_a_float64_build_is_held_against_float32_which_is_said(workload: forcing.Kind) -> None:
    _, header = forcing.trajectory(workload, (case_of(GRAPH),))
    assert header.references == {"float32": "float32"}
    assert header.reasons == {"float32": "there is no float64 build of the step"}
    found = forcing.agreement(workload, case_of(GRAPH))
    assert (found.reference, found.remark) == ("float32", "there is no float64 build of the step")
    assert complaints(found) == ()


@pytest.mark.slow
def test_a_precision_that_the_step_cannot_run_in_costs_no_other() -> None:
    _, header = forcing.trajectory(kinds.KINDS["regularised"], BOTH)
    assert header.references == {"float32": "float64"}
    with pytest.raises(StepbenchError, match="does not run under mixed_bfloat16"):
        forcing.agreement(kinds.KINDS["regularised"], BOTH[1], *BOTH[:1])


def test_a_reference_that_is_no_number_is_refused() -> None:
    exploding = kinds.kind("exploding", kinds.dense_model, lambda: keras.optimizers.SGD(math.inf))
    with pytest.raises(StepbenchError, match="is NaN or infinite after 0 steps: verify a workload that trains"):
        forcing.trajectory(exploding, (case_of(GRAPH),))


def test_a_float64_step_that_is_lost_on_the_way_is_not_replaced_in_silence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = ReferenceMaker._run_exactly
    calls = iter(range(100))

    def lost(maker: ReferenceMaker, *arguments: Any) -> Any:
        return original(maker, *arguments) if next(calls) < 2 else None

    monkeypatch.setattr(ReferenceMaker, "_run_exactly", lost)
    with forcing.own_tapes():
        maker = ReferenceMaker(open_task(kinds.KINDS["dense"], forcing.SOURCE), (case_of(GRAPH),), seed=0)
    with forcing.own_tapes(), pytest.raises(StepbenchError, match="ran in float64 at first, and then did not"):
        maker.make(forcing.POINTS, tmp_path)


def build_raw(_: Any) -> stepbench.Built:
    """Arrays of floats, which take the dtype of what is built, in arithmetic of TensorFlow's own, which does not."""
    model, optimizer = kinds.dense_model(), keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    x = kinds.rows(forcing.SOURCE).x_train

    def step(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(batch) - tf.reduce_sum(batch, 1, keepdims=True)) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return stepbench.Built(step, x, model.variables, [optimizer])


def test_each_step_is_given_data_in_its_own_dtype() -> None:
    workload = stepbench.Training("raw", build_raw)
    folder, header = forcing.trajectory(workload, BOTH[:1])
    assert header.references == {"float32": "float64"}
    like = open_task(kinds.KINDS["dense"], forcing.SOURCE).feed.take(1, kinds.BATCH)[0][0]
    assert {target.batch.dtype for target in load_targets(folder, 1, like)} == {tf.float32}
    assert complaints(forcing.agreement(workload, BOTH[0])) == ()


def test_the_points_are_those_of_a_training() -> None:
    task = open_task(kinds.KINDS["dense"], forcing.SOURCE)
    like = task.feed.take(1, kinds.BATCH)[0]
    folder, _ = forcing.trajectory(kinds.KINDS["dense"], BOTH)
    targets = list(load_targets(folder, 1, like))
    assert [target.step for target in targets] == list(forcing.POINTS)
    assert [int(target.snapshot.optimizers[0][0]) for target in targets] == list(forcing.POINTS)
    starts = [target.snapshot.weights[0] for target in targets]
    assert all((one != other).any() for one, other in pairwise(starts))
