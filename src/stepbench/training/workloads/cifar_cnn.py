"""The classic CIFAR-10 convolutional network: 122,570 parameters."""

from __future__ import annotations

import keras
from keras import layers

from stepbench.training.data import load_images
from stepbench.training.workload import Workload


def build_model() -> keras.Model:
    """The network on images of shape (batch, 32, 32, 3) in [0, 1], giving logits of shape (batch, 10)."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
            # Under a mixed policy the loss must see float32, while every product stays in half precision.
            layers.Activation("linear", dtype="float32", name="logits"),
        ],
        name="cifar-cnn",
    )


workload = Workload("cifar-cnn", build_model, load_images)
