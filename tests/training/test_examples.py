from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import places
import pytest
import tensorflow as tf
from built import Ready, assert_close, ready, workload_at

import stepbench
from stepbench.records.cases import Device, Precision
from stepbench.training.devices import use_device
from stepbench.training.executions import execution_named
from stepbench.training.feed import stacked
from stepbench.training.locate import import_user_module
from stepbench.training.step import figures_of, loss_of
from stepbench.training.workload import DataSource

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

EXAMPLES = places.EXAMPLES
TABULAR = workload_at(f"{EXAMPLES}/tabular.py:workload")
import_user_module(f"{EXAMPLES}/hand_written_step.py")

BATCH = 32
ROWS = TABULAR.data(DataSource("synthetic", limit=6 * BATCH))


def prepared(
    execution: str,
    precision: str = "float32",
    steps_per_call: int = 1,
    optimizer: Callable[[], keras.Optimizer] | None = None,
) -> Ready:
    workload = dataclasses.replace(TABULAR, data=lambda _: ROWS, optimizer=optimizer)
    return ready(workload, execution, precision, steps_per_call=steps_per_call, batch_size=BATCH)


def assert_trained_alike(ours: Ready, theirs: Ready, atol: float) -> None:
    for each in (ours, theirs):
        each.state.reset_metrics()  # Keras counts examples in its running loss, the step by hand batches.
    assert_close(ours, theirs, atol, rtol=1e-4)


def test_rows_are_always_the_same_and_a_limit_takes_the_first() -> None:
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
    ours = prepared("graph", precision)
    model = ours.state.model
    assert model(ours.batches(1)[0][0], training=True).dtype == tf.float32
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
    theirs, ours = prepared("graph", precision), prepared("raw-adam", precision, steps_per_call)
    batches = ours.batches(6)
    expected = []
    for batch in batches:
        theirs.state.reset_metrics()
        expected.append(float(theirs.call(batch)["loss"]))
    calls = [stacked(batches[start : start + steps_per_call]) for start in range(0, 6, steps_per_call)]
    losses = [float(loss_of(ours.call(call))) for call in calls]
    assert losses == pytest.approx(expected[steps_per_call - 1 :: steps_per_call], rel=1e-3)
    assert int(ours.state.optimizer.iterations) == 6
    assert_trained_alike(ours, theirs, atol)


def test_raw_adam_shows_the_figures_that_the_graph_shows() -> None:
    theirs, ours = prepared("graph"), prepared("raw-adam")
    for batch in ours.batches(2):
        theirs.call(batch)
        ours.call(batch)
    expected = figures_of(theirs.state.model.get_metrics_result())
    assert figures_of(ours.state.model.get_metrics_result()) == pytest.approx(expected, rel=1e-5)


def test_raw_adam_makes_the_same_first_update() -> None:
    """An update of 0.001: a learning rate that is off by 0.1 % would show."""
    theirs, ours = prepared("graph"), prepared("raw-adam")
    before = [weight.numpy() for weight in ours.state.model.trainable_variables]
    for each in (theirs, ours):
        each.call(each.batches(1)[0])
    pairs = zip(ours.state.model.trainable_variables, theirs.state.model.trainable_variables, before, strict=True)
    for weight, its, old in pairs:
        update, expected_update = weight.numpy() - old, its.numpy() - old
        assert np.abs(expected_update).max() == pytest.approx(0.001, rel=1e-3)
        # A float32 weight near 1 holds an update to 6e-8.
        np.testing.assert_allclose(update, expected_update, rtol=1e-5, atol=1.2e-7)


def test_raw_adam_skips_a_step_that_overflowed_and_halves_the_scale() -> None:
    ours, theirs = (prepared(execution, "mixed_float16") for execution in ("raw-adam", "graph"))
    weights = [weight.numpy() for weight in ours.state.model.trainable_variables]
    for each in (ours, theirs):
        each.state.optimizer.dynamic_scale.assign(2.0**40)
        each.state.optimizer.step_counter.assign(7)
        each.call(each.batches(1)[0])
    assert float(ours.state.optimizer.dynamic_scale) == 2.0**39
    assert int(ours.state.optimizer.step_counter) == 0
    assert int(ours.state.optimizer.iterations) == 0
    for weight, old in zip(ours.state.model.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert_trained_alike(ours, theirs, atol=1e-5)


def test_raw_adam_doubles_the_scale_as_often_as_keras_does() -> None:
    def growing() -> keras.Optimizer:
        inner = keras.optimizers.Adam()
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)

    ours, theirs = (prepared(execution, "mixed_float16", optimizer=growing) for execution in ("raw-adam", "graph"))
    scales = []
    for batch in ours.batches(5):
        ours.call(batch)
        theirs.call(batch)
        scales.append(float(ours.state.optimizer.dynamic_scale))
        assert scales[-1] == float(theirs.state.optimizer.dynamic_scale)
        assert int(ours.state.optimizer.step_counter) == int(theirs.state.optimizer.step_counter)
    assert scales == [8, 16, 16, 32, 32]


def test_raw_adam_follows_a_learning_rate_schedule() -> None:
    def decaying() -> keras.Optimizer:
        return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5))

    ours, theirs = (prepared(execution, optimizer=decaying) for execution in ("raw-adam", "graph"))
    for batch in ours.batches(3):
        ours.call(batch)
        theirs.call(batch)
    assert_trained_alike(ours, theirs, atol=1e-5)


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
