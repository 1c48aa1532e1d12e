"""The parts of a step, marked where Keras' methods are called."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from built import ready
from workloads import gan, kinds

import stepbench
from stepbench.records.cases import Device, Precision
from stepbench.records.trace import part_of
from stepbench.training.devices import use_device
from stepbench.training.step import mark_tapes

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

RANDOM = np.random.default_rng(1)
PARTS = {"forward", "loss", "backward", "update", "metrics"}


def parts_in(workload: Any) -> dict[str, set[str]]:
    """The kinds of operations of each part of a traced step."""
    ours = ready(workload, batch_size=kinds.BATCH)
    call: Any = ours.call
    found: dict[str, set[str]] = {}
    for operation in call.get_concrete_function(ours.batches(1)[0]).graph.get_operations():
        found.setdefault(part_of(operation.name), set()).add(operation.type)
    return found


def named(workload: Any) -> str:
    return str(workload.name)


@pytest.mark.parametrize(
    "workload", [kinds.functional, kinds.batch_normalised, kinds.sam, kinds.compute_loss, kinds.added_loss], ids=named
)
def test_operations_carry_the_part_that_they_belong_to(workload: stepbench.Workload) -> None:
    parts = parts_in(workload)
    own_metrics = {"metrics"} if workload.name == "functional" else set()
    assert PARTS - {"metrics"} | own_metrics <= set(parts)
    assert "MatMul" in parts["forward"] & parts["backward"]
    assert "MatMul" not in parts["update"] | parts["loss"] | parts.get("", set())
    assert any("Assign" in kind for kind in parts["update"])


def test_of_a_step_without_a_model_the_optimizers_and_tapes_are_marked_and_the_rest_is_not() -> None:
    parts = parts_in(gan.training)
    assert "MatMul" in parts[""] & parts["backward"]
    assert any("Assign" in kind for kind in parts["update"])


def test_marking_leaves_a_model_what_it_was() -> None:
    state = ready(kinds.sam, batch_size=kinds.BATCH).state
    assert isinstance(state.model, kinds.Sam)
    assert type(state.model).__name__ == "Sam"
    assert state.model.count_params() == kinds.FEATURES * 4 + 4 + 4 * kinds.CLASSES + kinds.CLASSES
    mark_tapes()
    assert not hasattr(tf.GradientTape.gradient.__wrapped__, "__wrapped__"), "marked once"


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision.FLOAT32, 1e-6), (Precision.MIXED_BFLOAT16, 1e-2), (Precision.MIXED_FLOAT16, 1e-3)],
)
def test_step_is_gradient_descent_as_done_by_hand(precision: Precision, tolerance: float) -> None:
    """Independent of Keras: softmax regression is simple enough."""
    x, y = RANDOM.normal(size=(8, 4)).astype(np.float32), RANDOM.integers(0, 3, 8)

    def model() -> keras.Model:
        logits = keras.layers.Activation("linear", dtype="float32")
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), logits])

    linear = stepbench.Workload("linear", model, lambda _: ((x, y), None), optimizer=lambda: keras.optimizers.SGD(0.5))
    ours = ready(linear, "eager", precision, batch_size=8)
    kernel, bias = (weight.numpy().astype(np.float64) for weight in ours.state.model.trainable_variables)
    logits = x @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slope = (chances - np.eye(3)[y]) / 8

    figures = ours.call(ours.batches(1)[0])
    assert float(figures["loss"]) == pytest.approx(-np.log(chances[np.arange(8), y]).mean(), rel=tolerance)
    assert float(figures["accuracy"]) == pytest.approx((logits.argmax(axis=1) == y).mean())
    new_kernel, new_bias = (weight.numpy() for weight in ours.state.model.trainable_variables)
    np.testing.assert_allclose(new_kernel - kernel, -0.5 * x.T @ slope, atol=tolerance)
    np.testing.assert_allclose(new_bias - bias, -0.5 * slope.sum(axis=0), atol=tolerance)
