from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import places
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.devices import use_device
from stepbench.training.locate import import_user_module, load_workload
from stepbench.training.state import TrainState
from stepbench.training.step import loss_of
from stepbench.training.task import open_task
from stepbench.training.variants import Call, build_call, execution_named
from stepbench.training.workload import DataSource, Workload

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

EXAMPLES = places.EXAMPLES
TABULAR = load_workload(f"{EXAMPLES}/tabular.py:workload")
import_user_module(f"{EXAMPLES}/hand_written_step.py")

BATCH = 32
assert isinstance(TABULAR, Workload)
ROWS = TABULAR.data(DataSource("synthetic", limit=6 * BATCH))
BATCHES = [
    (tf.constant(ROWS.x_train[start : start + BATCH]), tf.constant(ROWS.y_train[start : start + BATCH]))
    for start in range(0, 6 * BATCH, BATCH)
]


def prepared(
    execution: str,
    precision: Precision,
    steps_per_call: int = 1,
    optimizer: Callable[[], keras.Optimizer] | None = None,
) -> tuple[TrainState, Call]:
    assert isinstance(TABULAR, Workload)
    workload = dataclasses.replace(TABULAR, optimizer=optimizer) if optimizer else TABULAR
    state = open_task(workload, DataSource("synthetic", limit=6 * BATCH)).build(precision, 0, BATCH)
    variant = Variant(execution, precision)
    return state, build_call(state, Case("tabular", variant, Device.CPU, BATCH, steps_per_call))


def values(state: TrainState) -> list[NDArray[np.float32]]:
    """Of weights and of the optimizer; metrics may weigh batches in another way."""
    return [variable.numpy() for variable in (*state.model.variables, *state.optimizer.variables)]


def assert_agree(ours: TrainState, theirs: TrainState, atol: float) -> None:
    for mine, its in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=atol)


def test_rows_are_always_the_same_and_a_limit_takes_the_first() -> None:
    assert isinstance(TABULAR, Workload)
    again, everything = (TABULAR.data(DataSource("synthetic", limit=limit)) for limit in (6 * BATCH, None))
    np.testing.assert_array_equal(again.x_train, ROWS.x_train)
    np.testing.assert_array_equal(everything.x_train[: 6 * BATCH], ROWS.x_train)
    np.testing.assert_array_equal(everything.y_test, ROWS.y_test)
    assert len(everything.x_train) == 20_000
    # No class is so frequent that guessing it would look like learning.
    assert np.bincount(everything.y_train).max() < 0.4 * 20_000
    assert everything.x_train.dtype == np.float32


@pytest.mark.parametrize("precision", Precision)
def test_table_network_computes_in_its_precision_and_gives_float32(precision: Precision) -> None:
    model = prepared("eager", precision)[0].model
    assert model(BATCHES[0][0], training=True).dtype == tf.float32
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert {layer.compute_dtype for layer in dense} == {precision.compute_dtype}
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize(
    ("precision", "atol"),
    [(Precision.FLOAT32, 1e-5), (Precision.MIXED_BFLOAT16, 1e-4), (Precision.MIXED_FLOAT16, 5e-4)],
)
@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_raw_adam_trains_as_keras_adam_does(precision: Precision, atol: float, steps_per_call: int) -> None:
    """Weights, statistics, moments, counters and metrics; six steps of Adam move a weight by up to 0.006."""
    theirs, step = prepared("graph", precision)
    expected_losses = []
    for batch in BATCHES:
        theirs.reset_metrics()  # Keras gives the mean since then.
        expected_losses.append(float(loss_of(step(batch))))
    ours, call = prepared("raw-adam", precision, steps_per_call)
    if steps_per_call == 1:
        losses = [float(call(batch)) for batch in BATCHES]
        assert losses == pytest.approx(expected_losses, rel=1e-3)
    else:
        for start in (0, 3):
            xs, ys = zip(*BATCHES[start : start + 3], strict=True)
            assert float(call((tf.stack(xs), tf.stack(ys)))) == pytest.approx(expected_losses[start + 2], rel=1e-3)
    assert int(ours.optimizer.iterations) == 6
    assert_agree(ours, theirs, atol)


def test_raw_adam_makes_the_same_first_update() -> None:
    """An update of 0.001: a learning rate that is off by 0.1 % would show."""
    theirs, expected = prepared("graph", Precision.FLOAT32)
    ours, call = prepared("raw-adam", Precision.FLOAT32)
    before = [weight.numpy() for weight in ours.model.trainable_variables]
    expected(BATCHES[0])
    call(BATCHES[0])
    for weight, its, old in zip(ours.model.trainable_variables, theirs.model.trainable_variables, before, strict=True):
        update, expected_update = weight.numpy() - old, its.numpy() - old
        assert np.abs(expected_update).max() == pytest.approx(0.001, rel=1e-3)
        # A float32 weight near 1 holds an update to 6e-8.
        np.testing.assert_allclose(update, expected_update, rtol=1e-5, atol=1.2e-7)


def test_raw_adam_skips_a_step_that_overflowed_and_halves_the_scale() -> None:
    ours, call = prepared("raw-adam", Precision.MIXED_FLOAT16)
    theirs, _ = prepared("graph", Precision.MIXED_FLOAT16)
    weights = [weight.numpy() for weight in ours.model.trainable_variables]
    for state in (ours, theirs):
        state.optimizer.dynamic_scale.assign(2.0**40)
        state.optimizer.step_counter.assign(7)
    call(BATCHES[0])
    theirs.step(BATCHES[0])
    assert float(ours.optimizer.dynamic_scale) == 2.0**39
    assert int(ours.optimizer.step_counter) == 0
    assert int(ours.optimizer.iterations) == 0
    for weight, old in zip(ours.model.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert_agree(ours, theirs, atol=1e-5)


def test_raw_adam_doubles_the_scale_as_often_as_keras_does() -> None:
    def growing() -> keras.Optimizer:
        inner = keras.optimizers.Adam()
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)

    ours, call = prepared("raw-adam", Precision.MIXED_FLOAT16, optimizer=growing)
    theirs, expected = prepared("graph", Precision.MIXED_FLOAT16, optimizer=growing)
    scales = []
    for batch in BATCHES[:5]:
        call(batch)
        expected(batch)
        scales.append(float(ours.optimizer.dynamic_scale))
        assert scales[-1] == float(theirs.optimizer.dynamic_scale)
        assert int(ours.optimizer.step_counter) == int(theirs.optimizer.step_counter)
    assert scales == [8, 16, 16, 32, 32]


def test_raw_adam_follows_a_learning_rate_schedule() -> None:
    def decaying() -> keras.Optimizer:
        return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5))

    ours, call = prepared("raw-adam", Precision.FLOAT32, optimizer=decaying)
    theirs, expected = prepared("graph", Precision.FLOAT32, optimizer=decaying)
    for batch in BATCHES[:3]:
        call(batch)
        expected(batch)
    assert_agree(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED_FLOAT16])
@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD,
        keras.optimizers.AdamW,
        lambda: keras.optimizers.Adam(amsgrad=True),
        lambda: keras.optimizers.Adam(clipnorm=1.0),
        lambda: keras.optimizers.Adam(use_ema=True),
        lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
    ],
)
def test_raw_adam_refuses_what_it_would_not_do(optimizer: Callable[[], keras.Optimizer], precision: Precision) -> None:
    with pytest.raises(stepbench.StepbenchError, match="raw-adam is plain Adam: use it without amsgrad"):
        prepared("raw-adam", precision, optimizer=optimizer)


def test_raw_adam_claims_to_be_a_graph() -> None:
    assert execution_named("raw-adam").claims == "graph"
