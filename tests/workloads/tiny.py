"""A workload so small that its step takes well under a millisecond."""

from __future__ import annotations

import keras
import numpy as np

import stepbench

EXAMPLES = 320
FEATURES = 8
CLASSES = 3


def _model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(CLASSES, dtype="float32"),
        ]
    )


def _data(_: stepbench.DataSource) -> stepbench.Dataset:
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    y = np.argmax(x @ random.normal(size=(FEATURES, CLASSES)), axis=1)
    return stepbench.Dataset(x, y, x, y)


workload = stepbench.Workload("tiny", _model, _data, optimizer=lambda: keras.optimizers.Adam(0.01))
