"""Inside a worker: see the gradients of a step, whatever the step is made of.

Two places are watched: what is handed to the state's optimizer, and what a gradient tape computes for the weights.
The first is what the step really applies; the second serves steps that update the weights by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stepbench.training.step import TrainState
from stepbench.worker.reference_step import Array, wide
from stepbench.worker.trajectory import inner_optimizer


class GradientRecorder:
    """Keeps the gradients of the last step. To be made before the step is built, as it is traced into it."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._weights = state.model.trainable_variables
        self._applied = self._slots()
        self._taped = self._slots()
        self._loss_scale = 1.0
        optimizer = inner_optimizer(state)
        optimizer.apply = self._watching_apply(optimizer.apply)
        tf.GradientTape.gradient = self._watching_tape(tf.GradientTape.gradient)

    def begin(self) -> None:
        """Forget what was seen; a step is about to run."""
        for slot in (*self._applied, *self._taped):
            slot.assign(tf.fill(slot.shape, np.nan))
        if isinstance(self._state.optimizer, keras.optimizers.LossScaleOptimizer):
            self._loss_scale = float(self._state.optimizer.dynamic_scale)

    def gradients(self) -> list[Array] | None:
        """The gradients of the loss that the step used, or None where none were seen."""
        applied = [wide(slot) for slot in self._applied]
        if not all(map(_unseen, applied)):
            # A weight that the optimizer was not given has no gradient.
            return [np.zeros_like(gradient) if _unseen(gradient) else gradient for gradient in applied]
        taped = [wide(slot) / self._loss_scale for slot in self._taped]
        return None if any(map(_unseen, taped)) else taped

    def _slots(self) -> list[tf.Variable]:
        return [tf.Variable(tf.fill(weight.shape, np.float32(np.nan)), trainable=False) for weight in self._weights]

    def _record(self, slots: Sequence[tf.Variable], gradients: Sequence[Any], weights: Sequence[Any]) -> None:
        slot_of = {_identity(weight): slot for weight, slot in zip(self._weights, slots, strict=True)}
        for gradient, weight in zip(gradients, weights, strict=True):
            slot = slot_of.get(_identity(weight))
            if slot is not None:
                dense = tf.zeros(slot.shape) if gradient is None else tf.convert_to_tensor(gradient)
                slot.assign(tf.cast(dense, tf.float32))

    def _watching_apply(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
            self._record(self._applied, grads, trainable_variables or self._weights)
            return original(grads, trainable_variables)

        return apply

    def _watching_tape(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def gradient(tape: tf.GradientTape, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(tape, target, sources, *args, **kwargs)
            if isinstance(sources, list | tuple) and isinstance(result, list | tuple):
                self._record(self._taped, result, sources)
            return result

        return gradient


def _identity(weight: Any) -> int:
    """Of the variable itself: Keras' is a shell around TensorFlow's."""
    return id(getattr(weight, "value", weight)) if isinstance(weight, keras.Variable) else id(weight)


def _unseen(gradient: Array) -> bool:
    return bool(np.all(np.isnan(gradient)))
