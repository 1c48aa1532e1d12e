"""A tiny workload, and steps of it with one thing added that makes them slower: what ``explain`` has to name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import stepbench
from stepbench.training.step import loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepbench.training.state import TrainState

    Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

FEATURES = 16
CALLBACK_SECONDS, INPUT_SECONDS = 0.02, 0.08


def build_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(4),
            layers.Activation("linear", dtype="float32"),
        ]
    )


def load_data(_: stepbench.DataSource) -> stepbench.Dataset:
    random = np.random.default_rng(0)
    x = random.normal(size=(512, FEATURES)).astype(np.float32)
    y = (x[:, :4]).argmax(axis=1)
    return stepbench.Dataset(x, y, x[:100], y[:100])


workload = stepbench.Workload("slowed", build_model, load_data)


def _with(state: TrainState, more: Any) -> Step:
    """The usual step, compiled, with something that its result depends on."""

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        loss = loss_of(state.step((x, y)))
        return loss + 0 * tf.cast(more(x), tf.float32)

    compiled: Step = tf.function(step, autograph=False)
    return compiled


@stepbench.variant("extra-matmul", claims="graph")
def extra_matmul(state: TrainState) -> Step:
    def product(x: tf.Tensor) -> tf.Tensor:
        large = tf.fill((900, 900), tf.reduce_sum(x) * 0)
        return tf.reduce_sum(tf.linalg.matmul(large, large))

    return _with(state, product)


@stepbench.variant("callback", claims="graph")
def callback(state: TrainState) -> Step:
    def slowly(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(CALLBACK_SECONDS)
        return value

    return _with(state, lambda x: tf.numpy_function(slowly, [tf.reduce_sum(x)], tf.float32))


@stepbench.variant("cast-pair", claims="graph")
def cast_pair(state: TrainState) -> Step:
    def there_and_back(_: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.cast(large, tf.float16), tf.float32)[0, 0]

    large = tf.Variable(tf.ones((4000, 4000)), trainable=False)
    return _with(state, there_and_back)


@stepbench.variant("slow-input", claims="eager")
def slow_input(state: TrainState) -> Step:
    def slowly(index: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(_sleep, [index], tf.int64)

    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # It would read ahead while the step computes.
    batches = iter(tf.data.Dataset.range(1_000_000).map(slowly).with_options(options))

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        next(batches)
        return loss_of(state.step((x, y)))

    return step


def _sleep(index: np.int64) -> np.int64:
    time.sleep(INPUT_SECONDS)
    return index
