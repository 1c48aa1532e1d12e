"""Inside a worker: dropout drawn as a variant draws it.

Dropout's random numbers depend on the dtype that they are drawn in, and on whether XLA draws them: from one seed, a
bfloat16 step drops other units than a float32 step. To compare such a step with a float64 one, the float64 one must
drop the same units: it draws them in the variant's dtype, in XLA if the variant runs there, and keeps all else in
float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import random as keras_random

from stepbench.records.cases import XLA, Precision

USUAL = ""
"""As eager float32 draws, which graphs do too."""
DRAWINGS = tuple(
    name + in_xla for name in (precision.compute_dtype for precision in Precision) for in_xla in ("", f"+{XLA}")
)[1:]
"""The other ways: a dtype, and whether XLA draws."""


def drawing_of(precision: Precision, *, xla: bool) -> str:
    """How a variant draws."""
    drawing = precision.compute_dtype + (f"+{XLA}" if xla else "")
    return drawing if drawing in DRAWINGS else USUAL


@contextlib.contextmanager
def drawn_as(drawing: str) -> Iterator[None]:
    """Have the dropout of functions that are traced in this context drawn in another way than their own."""
    dtype, _, compiler = (drawing or Precision.FLOAT32.compute_dtype).partition("+")
    original = keras_random.dropout

    def dropout(inputs: tf.Tensor, rate: float, noise_shape: Any = None, seed: Any = None) -> tf.Tensor:
        if not 0 < rate < 1:
            return original(inputs, rate, noise_shape, seed)
        numbers = tf.cast(keras_random.draw_seed(seed), tf.int32)

        def kept() -> tf.Tensor:
            ones = tf.ones(inputs.shape, dtype)
            return tf.nn.experimental.stateless_dropout(ones, rate=rate, noise_shape=noise_shape, seed=numbers) > 0

        mask = tf.function(kept, jit_compile=True, autograph=False)() if compiler else kept()
        return inputs * tf.cast(mask, inputs.dtype) / (1 - rate)

    keras_random.dropout = dropout
    try:
        yield
    finally:
        keras_random.dropout = original
