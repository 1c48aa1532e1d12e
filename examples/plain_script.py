"""An ordinary training script, with nothing of stepbench in it.

    python examples/plain_script.py --epochs 5
    stepbench run --workload examples/plain_script.py

It learns which of four waves a noisy signal holds.
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

LENGTH, WAVES, EXAMPLES = 128, 4, 8_000


def signals(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Waves of different shapes, at any frequency and phase, with noise: (count, 128, 1), and their kinds."""
    random = np.random.default_rng(seed)
    kinds = random.integers(WAVES, size=count)
    turns = random.uniform(2, 6, size=(count, 1)) * np.linspace(0, 1, LENGTH) + random.uniform(size=(count, 1))
    phases = turns % 1
    sine, square = np.sin(2 * np.pi * phases), np.sign(phases - 0.5)
    saw, triangle = 2 * phases - 1, 4 * np.abs(phases - 0.5) - 1
    waves = np.stack([sine, square, saw, triangle])[kinds, np.arange(count)]
    noisy = waves + random.normal(scale=0.7, size=waves.shape)
    return noisy[..., np.newaxis].astype(np.float32), kinds


def build_model() -> keras.Model:
    """Two convolutions and a pool."""
    return keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            layers.Conv1D(16, 9, activation="relu"),
            layers.Conv1D(32, 9, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.1),
            layers.Dense(WAVES),
            layers.Activation("softmax", dtype="float32"),
        ],
        name="waves",
    )


def main() -> None:
    """Train it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    model = build_model()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        *signals(EXAMPLES, seed=0),
        batch_size=64,
        epochs=options.epochs,
        validation_data=signals(2_000, seed=1),
        callbacks=[keras.callbacks.EarlyStopping(patience=2)],
    )


if __name__ == "__main__":
    main()
