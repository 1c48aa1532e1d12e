"""The one train step, undecorated, and the state it works on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import Precision
from stepbench.training.workload import Workload

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Metrics:
    """What is accumulated over an epoch."""

    loss: keras.metrics.Metric
    accuracy: keras.metrics.Metric

    def reset(self) -> None:
        """Start anew, as at the begin of an epoch."""
        self.loss.reset_state()
        self.accuracy.reset_state()


@dataclass(frozen=True, eq=False)
class TrainState:
    """A workload built under one precision. Every variable exists already, so a step traces once."""

    model: keras.Model
    loss: keras.losses.Loss
    optimizer: keras.optimizers.Optimizer
    metrics: Metrics

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """All that a step may change, each once: weights, seeds, optimizer slots, loss scale, metrics."""
        everything = (
            *self.model.variables,
            *self.optimizer.variables,
            *self.metrics.loss.variables,
            *self.metrics.accuracy.variables,
        )
        return tuple({id(variable): variable for variable in everything}.values())


def build_state(workload: Workload, precision: Precision, seed: int) -> TrainState:
    """Build the model and its optimizer under ``precision``, initialised from ``seed``.

    Raises:
        StepbenchError: when ``workload.model`` gives no built ``keras.Model`` with float32 outputs, or the seed is
            out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise StepbenchError(f"The seed must be from 0 to {MAX_SEED}, not {seed}.")
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision.value)
    model = workload.model()
    _check_model(model)
    optimizer = workload.optimizer()
    if precision is Precision.MIXED_FLOAT16 and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Slots made inside the first call would trace the step twice.
    optimizer.build(model.trainable_variables)
    # Metrics accumulate thousands of steps: never in half precision.
    keras.config.set_dtype_policy("float32")
    metrics = Metrics(keras.metrics.Mean(name="loss"), workload.metric())
    keras.config.set_dtype_policy(precision.value)
    return TrainState(model, workload.loss(), optimizer, metrics)


def _check_model(model: object) -> None:
    if not isinstance(model, keras.Model):
        raise StepbenchError(f"The workload's model() gave a {type(model).__name__}: it must give a keras.Model.")
    if not model.built:
        raise StepbenchError("The workload's model is not built: begin it with keras.Input or call build() on it.")
    # A subclassed model does not know its outputs before it is called.
    dtypes = {tensor.dtype for tensor in tf.nest.flatten(getattr(model, "outputs", None) or ())}
    if dtypes - {"float32"}:
        raise StepbenchError(
            f"The workload's model has outputs in {', '.join(sorted(dtypes))}: end it with a layer of dtype='float32'."
        )


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Mark a part of a step, so that its trace can be read by parts.

    In graphs and XLA modules the operations carry the name. Eager operations have none; there an event spans the part.
    """
    with tf.name_scope(name), tf.profiler.experimental.Trace(name):
        yield


def train_step(state: TrainState, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """One step on one batch: forward pass, loss, backward pass, parameter update, metrics.

    Args:
        state: updated in place.
        x: inputs of shape (batch, ...).
        y: targets of shape (batch, ...).

    Returns:
        The scalar loss before the update.
    """
    with tf.GradientTape() as tape:
        with part("forward"):
            outputs = state.model(x, training=True)
        with part("loss"):
            loss = state.loss(y, outputs)
            if state.model.losses:  # Regularisation, as Keras' own step adds it.
                loss += tf.add_n(state.model.losses)
            scaled_loss = state.optimizer.scale_loss(loss)
    weights = state.model.trainable_variables
    with part("backward"):
        gradients = tape.gradient(scaled_loss, weights)
    with part("update"):
        state.optimizer.apply(gradients, weights)
    with part("metrics"):
        state.metrics.loss.update_state(loss)
        state.metrics.accuracy.update_state(y, outputs)
    return loss
