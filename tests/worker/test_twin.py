"""What optimizers make of their gradients, against themselves in float64: each innocent one, and each fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import forcing
import keras
import kinds
import pytest
import tensorflow as tf
from forcing import observed
from marks import few

import stepbench
from stepbench.judge.one_step import complaints
from stepbench.records.verify import Agreement, Point, TensorError
from stepbench.training.state import inner_optimizer
from stepbench.worker.forced import Snapshot
from stepbench.worker.tensors import wide
from stepbench.worker.twin import Fed

pytestmark = pytest.mark.tensorflow

STEPS = 5
Plant = Callable[[Any], None]
"""Does something to an optimizer."""


@pytest.fixture(autouse=True)
def _tapes() -> Iterator[None]:
    with forcing.own_tapes():
        yield


def judged(workload: forcing.Kind, plant: Plant = lambda _: None, *, each_step: bool = False) -> tuple[str, ...]:
    """What is wrong with the updates of a few eager steps, of which something is planted in the optimizer."""
    mine = observed(workload)
    optimizer = inner_optimizer(mine.step.state.optimizers[0])
    points = []
    for number, batch in enumerate(mine.batches(STEPS)):
        start = mine.step.snapshot()
        if each_step or not number:
            plant(optimizer)
        points.append(_point(mine, start, batch, number))
    return complaints(Agreement("float64", None, gradients_seen=True, step_s=0.1, points=tuple(points)))


def _point(mine: forcing.Observed, start: Snapshot, batch: Any, number: int) -> Point:
    assert mine.step.observer
    mine.step.observer.begin()
    mine.step.call(batch)
    mine.twin.force(start)
    updates: list[TensorError] = []
    slots: list[TensorError] = []
    before = {id(weight): value for weight, value in zip(mine.step.state.weights, start.weights, strict=True)}
    for one in mine.step.observer.done():
        starts = [wide(kept) for kept in one.before] or [wide(before[id(weight)]) for weight in one.weights]
        ends = [wide(kept) for kept in one.after] or [wide(weight.value) for weight in one.weights]
        errors, _ = mine.twin.apply(Fed(one.optimizer, one.weights, one.gradients(), starts, ends))
        updates += errors
        optimizer = inner_optimizer(mine.step.state.optimizers[one.optimizer])
        slots += mine.twin.slots(one.optimizer, [wide(variable) for variable in optimizer.variables])
    return Point(number, TensorError("loss", 0.0, 0.0, 1e-7), (), tuple(updates), tuple(slots), (), 0, "")


@pytest.mark.parametrize("optimizer", few("adam", "momentum", of=kinds.OPTIMIZERS))
def test_every_optimizer_is_innocent(optimizer: str) -> None:
    assert judged(forcing.with_optimizer("dense", optimizer)) == ()


@pytest.mark.parametrize("optimizer", few("adam", of=["momentum", "adam", "adagrad", "lion"]))
def test_so_is_it_on_gradients_that_have_some_rows_only(optimizer: str) -> None:
    assert judged(forcing.with_optimizer("embedding", optimizer)) == ()


@pytest.mark.parametrize(
    "name", few("two-passes", of=["unused-head", "constrained", "frozen", "two-passes", "adversaries", "loop"])
)
def test_so_is_it_on_models_that_ask_more_of_it(name: str) -> None:
    assert judged(kinds.KINDS[name]) == ()


def _quicker(optimizer: Any) -> None:
    optimizer.learning_rate = 1.02 * float(optimizer.learning_rate)


def _forgetful(optimizer: Any) -> None:
    for variable in optimizer.variables:
        if len(variable.shape):
            variable.assign(0.0 * variable)


def _setting(name: str, value: float | None) -> Plant:
    return lambda optimizer: setattr(optimizer, name, value)


def _decay_everywhere(optimizer: Any) -> None:
    optimizer._use_weight_decay = lambda _: True  # Keras offers no way back.


FAULTS: dict[str, tuple[Plant, bool, tuple[str, ...]]] = {
    "learning rate 2 % too high": (_quicker, False, ("adam", "lion", "momentum", "muon", "ema")),
    "beta 2": (_setting("beta_2", 0.9), False, ("adam", "nadam", "adamw")),
    "epsilon": (_setting("epsilon", 1e-2), False, ("adam", "rmsprop", "adamax")),
    "momentum reset": (_forgetful, True, ("adam", "lion", "momentum", "adagrad")),
    "clipping left out": (_setting("global_clipnorm", None), False, ("adamw",)),
}


@pytest.mark.parametrize(
    ("fault", "optimizer"),
    few(
        *((fault, usual) for fault, (*_, (usual, *_)) in FAULTS.items()),
        of=[(fault, optimizer) for fault, (*_, all_of) in FAULTS.items() for optimizer in all_of],
    ),
)
def test_a_fault_in_its_arithmetic_is_seen(fault: str, optimizer: str) -> None:
    plant, each_step, _ = FAULTS[fault]
    assert judged(forcing.with_optimizer("dense", optimizer), plant, each_step=each_step)


def test_weight_decay_of_a_weight_that_is_excluded_from_it_is_seen() -> None:
    sentences = judged(kinds.KINDS["unused-head"], _decay_everywhere)
    assert any("bias" in sentence for sentence in sentences)


def test_a_constraint_that_is_left_out_is_seen() -> None:
    mine = kinds.KINDS["constrained"]

    def unconstrained(optimizer: Any) -> None:
        for weight in optimizer._trainable_variables:
            weight.constraint = None

    assert judged(mine, unconstrained)


def late_loop(_: Any) -> stepbench.Built:
    """Its optimizers are built by its first step, which does not trace in float64."""
    model = kinds.dense_model()
    optimizer = keras.optimizers.Adam(0.01)

    def step(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(batch + tf.zeros((), tf.float32)) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    data = kinds.rows(forcing.SOURCE).x_train
    batches = tf.data.Dataset.from_tensor_slices(data).batch(kinds.BATCH, drop_remainder=True)
    return stepbench.Built(step, batches, model.variables, [optimizer])


@pytest.mark.slow
def test_optimizers_of_a_step_that_does_not_trace_in_float64_are_built_all_the_same() -> None:
    assert judged(stepbench.Training("late", late_loop)) == ()
    assert judged(stepbench.Training("late", late_loop), _quicker)
