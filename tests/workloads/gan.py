"""A generative adversarial network without a Keras model of its own: two networks, two optimizers, one step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import stepbench

BATCH, FEATURES = 8, 4
_random = np.random.default_rng(0)
POINTS = _random.normal(2.0, 0.5, (10 * BATCH, FEATURES)).astype(np.float32)
NOISE = _random.normal(size=POINTS.shape).astype(np.float32)
"""Not drawn in the step, so that every execution sees the same."""


def build(_: stepbench.DataSource) -> stepbench.Built:
    generator = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(FEATURES)])
    critic = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(8, activation="relu"), layers.Dense(1)])
    critic_adam, generator_rmsprop = keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01)

    def step(batch: Any) -> dict[str, Any]:
        real, noise = batch["real"], batch["noise"]
        with tf.GradientTape(persistent=True) as tape:
            fake_score = critic(generator(noise))
            critic_loss = tf.reduce_mean(tf.nn.softplus(-critic(real)) + tf.nn.softplus(fake_score))
            generator_loss = tf.reduce_mean(tf.nn.softplus(-fake_score))
        for network, loss, optimizer in (
            (critic, critic_loss, critic_adam),
            (generator, generator_loss, generator_rmsprop),
        ):
            weights = network.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"critic": critic_loss, "generator": generator_loss}

    def evaluate() -> dict[str, float]:
        return {"spread": float(tf.math.reduce_std(generator(NOISE)))}

    variables = [*generator.variables, *critic.variables]
    batches = tf.data.Dataset.from_tensor_slices({"real": POINTS, "noise": NOISE}).batch(BATCH)
    return stepbench.Built(step, batches, variables, (critic_adam, generator_rmsprop), evaluate)


training = stepbench.Training("gan", build)
