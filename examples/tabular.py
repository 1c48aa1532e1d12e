"""A workload of your own: a small classifier of table rows.

Train it, then find out which way of executing its training step is fastest:

    stepbench train --workload examples/tabular.py:workload
    stepbench run --workload examples/tabular.py:workload
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import stepbench

FEATURES = 20
CLASSES = 4
TRAIN_ROWS = 20_000
TEST_ROWS = 4_000


def build_model() -> keras.Model:
    """The network on rows of shape (batch, 20), giving logits of shape (batch, 4)."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(64, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(64, activation="relu"),
            layers.Dense(CLASSES),
            # Under a mixed precision the layers compute in half precision; the loss is better computed in float32.
            layers.Activation("linear", dtype="float32", name="logits"),
        ],
        name="tabular",
    )


def load_data(source: stepbench.DataSource) -> stepbench.Dataset:
    """Rows whose class depends on products of their features, so that a linear model fails."""
    # The same rows in every process: the cases of a comparison must learn the same task.
    random = np.random.default_rng(seed=0)
    x = random.normal(size=(TRAIN_ROWS + TEST_ROWS, FEATURES)).astype(np.float32)
    to_factors = random.normal(size=(2, FEATURES, CLASSES))
    scores = (x @ to_factors[0]) * (x @ to_factors[1])
    y = scores.argmax(axis=1)
    # --limit asks for fewer training rows; the test rows stay the same.
    train, test = slice(min(TRAIN_ROWS, source.limit or TRAIN_ROWS)), slice(TRAIN_ROWS, None)
    return stepbench.Dataset(x[train], y[train], x[test], y[test])


# Loss, optimizer and metric are the defaults: cross-entropy from logits, Adam, accuracy. Each could be a function
# like the two above, for example optimizer=lambda: keras.optimizers.SGD(0.1).
workload = stepbench.Workload("tabular", build_model, load_data)
