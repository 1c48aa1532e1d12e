from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import stepbench
from stepbench.records.cases import Device, Precision
from stepbench.training.devices import use_device
from stepbench.training.step import TrainState, build_state, train_step
from stepbench.training.workload import Workload, load_workload

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

CNN = load_workload("cifar-cnn")
HALF = (Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16)
RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.random((16, 32, 32, 3), np.float32)
LABELS = RANDOM.integers(0, 10, 16)


def no_data(_: stepbench.DataSource) -> stepbench.Dataset:
    raise AssertionError("Building a state reads no data.")


def linear_workload(**parts: Any) -> Workload:
    """Softmax regression trained by plain gradient descent: simple enough to be done by hand."""
    return Workload("linear", linear_model, no_data, **{"optimizer": lambda: keras.optimizers.SGD(0.5), **parts})


def linear_model() -> keras.Model:
    logits = keras.layers.Activation("linear", dtype="float32")
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), logits])


def weights_of(state: TrainState) -> list[NDArray[np.float32]]:
    return [weight.numpy() for weight in state.model.trainable_variables]


@pytest.fixture(scope="module", params=list(Precision))
def cnn(request: pytest.FixtureRequest) -> tuple[Precision, TrainState]:
    return request.param, build_state(CNN, request.param, seed=0)


def test_built_in_model_has_the_published_number_of_parameters(cnn: tuple[Precision, TrainState]) -> None:
    assert cnn[1].model.count_params() == 122_570


def test_outputs_and_weights_are_float32_and_products_are_not_under_a_mixed_precision(
    cnn: tuple[Precision, TrainState],
) -> None:
    precision, state = cnn
    outputs = state.model(IMAGES, training=True)
    assert outputs.dtype == tf.float32
    assert outputs.shape == (16, 10)
    assert {weight.dtype for weight in state.model.variables} == {"float32"}
    products = [layer for layer in state.model.layers if layer.weights]
    assert len(products) == 5
    assert {layer.compute_dtype for layer in products} == {precision.compute_dtype}


def test_loss_is_scaled_under_mixed_float16_only(cnn: tuple[Precision, TrainState]) -> None:
    precision, state = cnn
    scales = isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision is Precision.MIXED_FLOAT16)


def test_a_loss_scale_of_the_workloads_own_is_kept() -> None:
    own = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=8.0)
    state = build_state(linear_workload(optimizer=lambda: own), Precision.MIXED_FLOAT16, seed=0)
    assert state.optimizer is own
    assert float(own.dynamic_scale) == 8


def test_variables_hold_each_variable_once_and_all_that_a_step_changes(cnn: tuple[Precision, TrainState]) -> None:
    precision, state = cnn
    before = [(variable, variable.numpy()) for variable in state.variables]
    train_step(state, tf.constant(IMAGES), tf.constant(LABELS))
    assert len({id(variable) for variable, _ in before}) == len(before)
    assert [variable for variable, _ in before] == list(state.variables)
    changed = {variable.path for variable, value in before if not np.array_equal(variable.numpy(), value)}
    # 10 weights, 20 moments, the count of steps, total and count of two metrics; the learning rate stands still.
    loss_scale = {"step_counter"} if precision is Precision.MIXED_FLOAT16 else set()
    assert len(changed) == 10 + 20 + 1 + 4 + len(loss_scale)
    assert loss_scale == {path.split("/")[-1] for path in changed if "loss_scale" in path}


def test_same_seed_gives_the_same_weights_under_every_precision() -> None:
    first, *others = (weights_of(build_state(CNN, precision, seed=7)) for precision in Precision)
    for other in others:
        for mine, its in zip(first, other, strict=True):
            np.testing.assert_array_equal(mine, its)
    assert not np.array_equal(first[0], weights_of(build_state(CNN, Precision.FLOAT32, seed=8))[0])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(stepbench.StepbenchError, match=f"from 0 to 4294967295, not {seed}"):
        build_state(CNN, Precision.FLOAT32, seed)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision.FLOAT32, 1e-6), (Precision.MIXED_BFLOAT16, 1e-2), (Precision.MIXED_FLOAT16, 1e-3)],
)
def test_step_is_gradient_descent_as_done_by_hand(precision: Precision, tolerance: float) -> None:
    state = build_state(linear_workload(), precision, seed=3)
    kernel, bias = (weight.astype(np.float64) for weight in weights_of(state))
    x = RANDOM.normal(size=(8, 4)).astype(np.float32)
    y = RANDOM.integers(0, 3, 8)

    logits = x @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected_loss = -np.log(chances[np.arange(8), y]).mean()
    slope = (chances - np.eye(3)[y]) / 8

    loss = train_step(state, tf.constant(x), tf.constant(y))
    assert float(loss) == pytest.approx(expected_loss, rel=tolerance)
    assert float(state.metrics.loss.result()) == pytest.approx(float(loss))
    assert float(state.metrics.accuracy.result()) == pytest.approx((logits.argmax(axis=1) == y).mean())
    new_kernel, new_bias = weights_of(state)
    np.testing.assert_allclose(new_kernel - kernel, -0.5 * x.T @ slope, atol=tolerance)
    np.testing.assert_allclose(new_bias - bias, -0.5 * slope.sum(axis=0), atol=tolerance)


def test_regularisation_is_part_of_the_loss() -> None:
    def regularised() -> keras.Model:
        layer = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1))
        return keras.Sequential([keras.Input((4,)), layer])

    state = build_state(dataclasses.replace(linear_workload(), model=regularised), Precision.FLOAT32, seed=0)
    kernel = weights_of(state)[0]
    # Inputs of zero give equal chances, and no gradient but the regulariser's.
    loss = train_step(state, tf.zeros((2, 4)), tf.constant([0, 1]))
    assert float(loss) == pytest.approx(np.log(3) + 0.1 * (kernel**2).sum(), rel=1e-6)
    np.testing.assert_allclose(weights_of(state)[0], kernel * (1 - 0.5 * 2 * 0.1), rtol=1e-6)


def test_metrics_start_anew_on_reset() -> None:
    state = build_state(linear_workload(), Precision.FLOAT32, seed=0)
    train_step(state, tf.ones((2, 4)), tf.constant([0, 1]))
    state.metrics.reset()
    assert float(state.metrics.loss.count) == 0
    assert float(state.metrics.accuracy.count) == 0


def test_model_that_is_none_is_refused() -> None:
    workload = dataclasses.replace(linear_workload(), model=list)
    with pytest.raises(stepbench.StepbenchError, match=r"gave a list: it must give a keras\.Model\."):
        build_state(workload, Precision.FLOAT32, seed=0)


def test_model_that_is_not_built_is_refused() -> None:
    workload = dataclasses.replace(linear_workload(), model=lambda: keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(stepbench.StepbenchError, match=r"not built: begin it with keras\.Input"):
        build_state(workload, Precision.FLOAT32, seed=0)


@pytest.mark.parametrize("precision", HALF)
def test_model_with_outputs_in_half_precision_is_refused(precision: Precision) -> None:
    def half() -> keras.Model:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    workload = dataclasses.replace(linear_workload(), model=half)
    build_state(workload, Precision.FLOAT32, seed=0)
    with pytest.raises(stepbench.StepbenchError, match=f"outputs in {precision.compute_dtype}: end it with a layer"):
        build_state(workload, precision, seed=0)


def test_subclassed_model_trains() -> None:
    class Subclassed(keras.Model):  # type: ignore[misc] # Keras is untyped.
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3, dtype="float32")

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            self.dense.build(input_shape)

        def call(self, x: tf.Tensor) -> tf.Tensor:
            return self.dense(x)

    def built() -> keras.Model:
        model = Subclassed()
        model.build((None, 4))
        return model

    state = build_state(dataclasses.replace(linear_workload(), model=built), Precision.FLOAT32, seed=0)
    assert np.isfinite(float(train_step(state, tf.ones((2, 4)), tf.constant([0, 1]))))
