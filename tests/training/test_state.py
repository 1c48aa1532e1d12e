"""What is built: every variable that a step may change, from a seed, under a precision."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from built import ready
from marks import few
from workloads import kinds

import stepbench
from stepbench.records.cases import Device, Precision
from stepbench.training.devices import use_device
from stepbench.training.locate import load_workload
from stepbench.training.state import building, layers_of, optimizers_of, overrides_step, widened
from stepbench.training.step import figures_of, loss_of

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.


def named(workload: stepbench.Workload) -> str:
    return workload.name


@pytest.mark.parametrize("precision", few(Precision.FLOAT32, Precision.MIXED_FLOAT16, of=Precision))
def test_built_in_model_is_the_published_one_in_every_precision(precision: Precision) -> None:
    ours = ready(load_workload("cifar-cnn"), precision=precision, batch_size=2)
    model = ours.state.model
    assert model.count_params() == 122_570
    outputs = model(ours.batches(1)[0][0], training=True)
    assert (outputs.dtype, outputs.shape) == (tf.float32, (2, 10))
    assert {weight.dtype for weight in model.variables} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {precision.compute_dtype}
    scales = isinstance(ours.state.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision is Precision.MIXED_FLOAT16)


@pytest.mark.parametrize(
    "workload",
    [kinds.functional, kinds.compute_loss, kinds.gan, kinds.added_loss, kinds.stateful, kinds.embedding, kinds.adamw],
    ids=named,
)
def test_variables_are_all_that_a_step_changes_each_once(workload: stepbench.Workload) -> None:
    """Whatever is not among them would not be restored before a block, and a second training would differ."""
    ours = ready(workload, "eager", batch_size=kinds.BATCH)
    batches = ours.batches(3)
    known = ours.state.variables
    assert len({id(variable) for variable in known}) == len(known)
    start = ours.values()
    losses, ends = [], []
    for _ in range(2):
        for variable, value in zip(known, start, strict=True):
            variable.assign(value)
        losses.append([float(loss_of(ours.call(batch))) for batch in batches])
        ends.append(ours.values())
    assert losses[0] == losses[1]
    for first, second in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, second)
    assert {id(variable) for variable in ours.state.variables} == {id(variable) for variable in known}


@pytest.mark.parametrize(
    "workload",
    few(kinds.batch_normalised, of=[kinds.functional, kinds.compute_loss, kinds.gan, kinds.batch_normalised]),
    ids=named,
)
def test_a_seed_gives_the_same_weights_under_every_precision(workload: stepbench.Workload) -> None:
    def weights(seed: int, precision: Precision = Precision.FLOAT32) -> list[Any]:
        state = ready(workload, precision=precision, batch_size=kinds.BATCH, seed=seed).state
        return [weight.numpy() for weight in state.model.trainable_variables]

    first = weights(7)
    for precision in (Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16):
        for mine, its in zip(first, weights(7, precision), strict=True):
            np.testing.assert_array_equal(mine, its)
    assert not np.array_equal(first[0], weights(8)[0])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(stepbench.StepbenchError, match=f"from 0 to 4294967295, not {seed}"):
        ready(kinds.functional, batch_size=kinds.BATCH, seed=seed)


def test_layers_have_the_names_of_a_new_process_however_often_they_are_built() -> None:
    for _ in range(2):
        state = ready(kinds.functional, batch_size=kinds.BATCH).state
        assert [layer.name for layer in layers_of(state)][-3:] == ["dense", "dropout", "dense_1"]


def test_float64_reaches_layers_of_a_dtype_of_their_own_and_leaves_nothing_behind() -> None:
    ours = ready(kinds.functional, "eager", batch_size=kinds.BATCH)
    with building("float64", 0):
        model = kinds.functional.model()
        assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float64"}
    assert (keras.config.floatx(), keras.layers.Dense(1, dtype="float16").compute_dtype) == ("float32", "float16")
    batch = widened((*ours.batches(1)[0], tf.constant(["text"])))
    assert [part.dtype.name for part in batch] == ["float64", "int64", "string"]


def test_the_users_own_step_and_all_of_its_optimizers_are_found() -> None:
    gan = ready(kinds.gan, batch_size=kinds.BATCH).state
    assert gan.has_own_step
    assert [type(optimizer).__name__ for optimizer in gan.optimizers] == ["RMSprop", "Adam", "RMSprop"]
    assert not ready(kinds.compute_loss, batch_size=kinds.BATCH).state.has_own_step
    assert overrides_step(kinds.sam.model())
    model = kinds.lion.model()
    model.others = {"a": keras.optimizers.SGD(), "b": 3}
    assert len(optimizers_of(model)) == 2


def test_a_step_by_hand_gets_loss_and_metrics() -> None:
    ours = ready(kinds.functional, batch_size=kinds.BATCH)
    x, y = ours.batches(1)[0]
    outputs = ours.state.model(x, training=False)
    expected = keras.losses.SparseCategoricalCrossentropy()(y, outputs)
    assert float(ours.state.loss(y, outputs)) == pytest.approx(float(expected), rel=1e-6)
    assert ours.state.metrics.accuracy
    assert ours.state.metrics.accuracy.name == "accuracy"
    assert ready(kinds.no_metric, batch_size=kinds.BATCH).state.metrics.accuracy is None


def test_the_loss_that_a_step_by_hand_gets_is_without_what_layers_add() -> None:
    state = ready(kinds.added_loss, batch_size=kinds.BATCH).state
    x = tf.constant(kinds.TABLE[:8])
    outputs = state.model(x, training=True)
    assert float(state.loss(x, outputs)) == pytest.approx(float(tf.reduce_mean((x - outputs) ** 2)), rel=1e-5)
    assert len(state.model.losses) == 2


@pytest.mark.parametrize(
    ("result", "loss", "figures"),
    [
        (tf.constant(2.0), 2.0, {"loss": 2.0}),
        ({"accuracy": 0.5, "loss": tf.constant(3.0)}, 3.0, {"accuracy": 0.5, "loss": 3.0}),
        ({"generator": 1.0, "critic": 4.0}, 1.0, {"generator": 1.0, "critic": 4.0}),
        ({"loss": 1.0, "f1": tf.constant([0.25, 0.5])}, 1.0, {"loss": 1.0, "f1[0]": 0.25, "f1[1]": 0.5}),
        ({"loss": 1.0, "kind": {"mae": 2.0}}, 1.0, {"loss": 1.0, "kind/mae": 2.0}),
    ],
)
def test_whatever_a_step_gives_is_read(result: Any, loss: float, figures: dict[str, float]) -> None:
    assert float(loss_of(result)) == loss
    assert figures_of(result) == figures
