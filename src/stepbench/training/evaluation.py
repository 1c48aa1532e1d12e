"""Loss and metric over a test set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import msgspec
import tensorflow as tf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_SIZE = 500


class Evaluation(msgspec.Struct, frozen=True):
    """Figures over a whole test set."""

    loss: float
    accuracy: float
    """From 0 to 1, or whatever the workload's metric gives."""
    examples: int


def evaluate(
    model: keras.Model,
    loss: keras.losses.Loss,
    metric: keras.metrics.Metric,
    x: NDArray[np.generic],
    y: NDArray[np.generic],
) -> Evaluation:
    """Evaluate ``model`` on inputs of shape (examples, ...), the short last batch included."""
    mean_loss = keras.metrics.Mean()
    # With the batch size left open, the short last batch is the same function.
    signature = [tf.TensorSpec((None, *part.shape[1:]), tf.as_dtype(part.dtype)) for part in (x, y)]

    def forward(inputs: tf.Tensor, targets: tf.Tensor) -> None:
        outputs = model(inputs, training=False)
        mean_loss.update_state(loss(targets, outputs), sample_weight=tf.shape(inputs)[0])
        metric.update_state(targets, outputs)

    compiled: Callable[..., Any] = tf.function(forward, input_signature=signature, autograph=False)
    for start in range(0, len(x), BATCH_SIZE):
        end = start + BATCH_SIZE
        compiled(tf.constant(x[start:end]), tf.constant(y[start:end]))
    return Evaluation(float(mean_loss.result()), float(metric.result()), len(x))
