"""A training that needs no ``fit``: two networks, two optimizers and a step of one's own.

    stepbench run --workload examples/gan.py:gan

It is a generative adversarial network (GAN) that learns to draw points near a circle.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

import stepbench

NOISE, POINTS = 8, 20_000


def network(name: str, inputs: int, outputs: int) -> keras.Model:
    """Two hidden layers; what comes out is in float32, under a mixed precision too."""
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(outputs, dtype="float32"),
        ],
        name=name,
    )


def optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Adam; in float16 with a scaled loss, which ``compile`` would see to for one optimizer."""
    adam = keras.optimizers.Adam(2e-4, beta_1=0.5)
    half = keras.config.dtype_policy().name == "mixed_float16"
    wrapped = keras.optimizers.LossScaleOptimizer(adam) if half else adam
    wrapped.build(model.trainable_variables)
    return wrapped


def ring(count: int, seed: int) -> NDArray[np.float32]:
    """Points near a circle, of shape (count, 2)."""
    random = np.random.default_rng(seed)
    angles, radii = random.uniform(0, 2 * np.pi, count), random.normal(1, 0.05, count)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).astype(np.float32)


def build(source: stepbench.DataSource) -> stepbench.Built:
    """Everything that a step needs; stepbench compiles the step, or not, as each case asks."""
    generator, critic = network("generator", NOISE, 2), network("critic", 2, 1)
    optimizers = {model.name: optimizer(model) for model in (generator, critic)}
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    seeds = keras.random.SeedGenerator(seed=1)  # Its state is a variable, so each block draws the same numbers.

    def fakes(count: int) -> tf.Tensor:
        # In float32 under every precision: in another dtype other numbers would be drawn.
        return generator(keras.random.normal((count, NOISE), dtype="float32", seed=seeds), training=True)

    def update(model: keras.Model, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        weights = model.trainable_variables
        optimizers[model.name].apply(tape.gradient(loss, weights), weights)

    def step(real: tf.Tensor) -> dict[str, tf.Tensor]:
        count = real.shape[0]
        ones, zeros = tf.ones((count, 1)), tf.zeros((count, 1))
        with tf.GradientTape() as tape:
            loss = entropy(ones, critic(real)) + entropy(zeros, critic(fakes(count)))
            scaled = optimizers["critic"].scale_loss(loss)
        update(critic, tape, scaled)
        with tf.GradientTape() as tape:
            fooled = entropy(ones, critic(fakes(count)))
            scaled = optimizers["generator"].scale_loss(fooled)
        update(generator, tape, scaled)
        return {"loss": loss, "generator loss": fooled}

    def evaluate() -> dict[str, float]:
        points = generator(np.random.default_rng(2).normal(size=(2_000, NOISE)).astype(np.float32)).numpy()
        radii = np.linalg.norm(points, axis=1)
        return {"distance from the ring": float(np.abs(radii - 1).mean())}

    variables = (*generator.variables, *critic.variables, seeds.state)
    return stepbench.Built(
        step, ring(source.limit or POINTS, seed=0), variables, tuple(optimizers.values()), evaluate=evaluate
    )


gan = stepbench.Training("gan", build)
