"""Models compiled as their authors mean it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from built import ready
from workloads import kinds

import stepbench
from stepbench.records.cases import Device, Precision
from stepbench.records.protocol import Written
from stepbench.training.compiled import compiled_model, written
from stepbench.training.devices import use_device
from stepbench.training.state import building

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

Sparse = keras.losses.SparseCategoricalCrossentropy


def bare() -> keras.Model:
    return keras.Sequential([keras.Input((kinds.FEATURES,)), keras.layers.Dense(kinds.CLASSES)])


def compiled() -> keras.Model:
    model = bare()
    model.compile(keras.optimizers.SGD(0.25), loss=Sparse(from_logits=True), metrics=["accuracy"], jit_compile=False)
    return model


def workload(model: Callable[[], Any] = bare, **parts: Any) -> stepbench.Workload:
    return stepbench.Workload("mine", model, lambda _: ((kinds.TABLE, kinds.LABELS), None), **parts)


def metric_names(model: keras.Model, *, one_hot: bool = False) -> list[str]:
    with building("float32", 0):
        model.evaluate(kinds.TABLE, np.eye(kinds.CLASSES)[kinds.LABELS] if one_hot else kinds.LABELS, verbose=0)
    return list(model.get_metrics_result())


@pytest.mark.parametrize(
    ("settings", "policy", "means"),
    [
        ({}, None, Written("keras")),
        ({"jit_compile": True}, "mixed_bfloat16", Written("xla", Precision.MIXED_BFLOAT16)),
        ({"steps_per_execution": 5}, "float32", Written("graph", Precision.FLOAT32, 5)),
        ({"run_eagerly": True, "steps_per_execution": 5}, None, Written("eager")),
        ({"jit_compile": False}, "bfloat16", Written("keras")),
    ],
)
def test_how_fit_would_run_it_is_read_from_a_model(
    settings: dict[str, Any], policy: str | None, means: Written
) -> None:
    model = bare()
    model.compile("adam", "mse", **settings)
    assert written(model, policy) == means


def test_a_model_keeps_what_it_was_compiled_with_and_a_bare_one_is_a_classifier_trained_by_adam() -> None:
    model, replaced = compiled_model(workload())
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert (type(model.loss), model.loss.get_config()["from_logits"], replaced) == (Sparse, True, None)
    assert metric_names(model) == ["loss", "accuracy"]
    model, replaced = compiled_model(workload(compiled))
    assert (float(model.optimizer.learning_rate), replaced) == (0.25, ())
    assert metric_names(model) == ["loss", "accuracy"]
    model, replaced = compiled_model(workload(compiled, optimizer="adam"))
    assert replaced == ("optimizer",)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert isinstance(model.loss, Sparse)
    assert metric_names(model) == ["loss", "accuracy"]


@pytest.mark.parametrize(
    "optimizer",
    ["rmsprop", keras.optimizers.RMSprop, lambda: keras.optimizers.RMSprop(), keras.optimizers.RMSprop()],  # noqa: PLW0108 - a factory.
    ids=["name", "class", "factory", "instance"],
)
def test_parts_are_given_as_names_classes_factories_or_instances(optimizer: Any) -> None:
    for _ in range(2):
        model, replaced = compiled_model(workload(compiled, optimizer=optimizer, loss=Sparse, metric="mae"))
        assert isinstance(model.optimizer, keras.optimizers.RMSprop)
        assert replaced == ("loss", "optimizer", "metric")
        ours = ready(workload(compiled, optimizer=optimizer), "eager", batch_size=kinds.BATCH)
        ours.call(ours.batches(1)[0])  # An instance serves every model, not only the first.
    assert not isinstance(optimizer, keras.optimizers.Optimizer) or not optimizer.built


def test_a_loss_or_metric_function_is_no_factory() -> None:
    def loss(y: Any, outputs: Any) -> Any:
        return tf.reduce_mean(outputs) + 0 * tf.cast(y, tf.float32)

    def half(_: Any, outputs: Any, share: float = 0.5) -> Any:
        return share + 0 * tf.reduce_mean(outputs)

    model, _ = compiled_model(workload(loss=loss, metric=half))
    assert model.loss is loss
    assert metric_names(model) == ["loss", "half"]


def test_a_bare_model_with_a_loss_of_its_own_has_no_metric_that_it_did_not_ask_for() -> None:
    model, _ = compiled_model(workload(loss="mse"))
    assert metric_names(model, one_hot=True) == ["loss"]
    model, _ = compiled_model(workload(loss="sparse_categorical_crossentropy"))
    assert metric_names(model) == ["loss", "accuracy"]


def test_an_optimizer_that_several_models_share_serves_each() -> None:
    shared = keras.optimizers.SGD(0.1, momentum=0.9)

    def model() -> keras.Model:
        made = bare()
        made.compile(shared, loss=Sparse(from_logits=True))
        return made

    for _ in range(2):
        ours = ready(workload(model), "eager", batch_size=kinds.BATCH)
        before = ours.values()
        ours.call(ours.batches(1)[0])
        assert any((new != old).any() for new, old in zip(ours.values(), before, strict=True))


def test_one_model_handed_out_twice_is_refused() -> None:
    only = compiled()
    compiled_model(workload(lambda: only))
    with pytest.raises(stepbench.StepbenchError, match="gives the same model again: build it inside the function"):
        compiled_model(workload(lambda: only))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(stepbench.StepbenchError, match=r"model\(\) gave a list: it must give a keras\.Model\."):
        compiled_model(workload(list))
