"""A compiled model with inputs by name, fed by a pipeline of ``tf.data``.

    stepbench run --workload examples/pipeline.py:workload

It learns how a user will rate a film, seen at some hour of the day.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

import stepbench

USERS, FILMS = 1_000, 500
TRAIN_ROWS, TEST_ROWS, BATCH_SIZE = 20_000, 4_000, 128


def build_model() -> keras.Model:
    """Compiled, so it brings its loss, optimizer and metric itself."""
    user = keras.Input((), dtype="int32", name="user")
    film = keras.Input((), dtype="int32", name="film")
    hour = keras.Input((1,), name="hour")
    parts = [layers.Embedding(USERS, 16)(user), layers.Embedding(FILMS, 16)(film), layers.Dense(8)(hour)]
    hidden = layers.Dense(64, activation="relu")(layers.Concatenate()(parts))
    rating = layers.Dense(1, dtype="float32", name="rating")(hidden)
    model = keras.Model({"user": user, "film": film, "hour": hour}, rating, name="ratings")
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse", metrics=["mae"])
    return model


def ratings(count: int, seed: int) -> tuple[dict[str, NDArray[np.float32 | np.int32]], NDArray[np.float32]]:
    """Rows that say who saw what, when, and how it was liked."""
    tastes, kinds = (np.random.default_rng(0).normal(size=(size, 3)) for size in (USERS, FILMS))
    random = np.random.default_rng(seed)
    user, film = (random.integers(size, size=count).astype(np.int32) for size in (USERS, FILMS))
    hour = random.uniform(size=(count, 1)).astype(np.float32)
    liked = (tastes[user] * kinds[film]).sum(axis=1, keepdims=True) / 3 + np.sin(np.pi * hour)
    noise = random.normal(scale=0.2, size=liked.shape)
    return {"user": user, "film": film, "hour": hour}, (liked + noise).astype(np.float32)


def load_data(source: stepbench.DataSource) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Training and test data, each what ``fit`` takes; the batch size is the pipeline's own."""
    train = tf.data.Dataset.from_tensor_slices(ratings(source.limit or TRAIN_ROWS, seed=1))
    test = tf.data.Dataset.from_tensor_slices(ratings(TEST_ROWS, seed=2))
    return train.shuffle(TRAIN_ROWS).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE), test.batch(BATCH_SIZE)


workload = stepbench.Workload("ratings", build_model, load_data)
