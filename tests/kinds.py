"""Small models of the kinds that people train, each as a workload; a step of any takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, optimizers

from stepbench import Built, Dataset, DataSource, Training, Workload

BATCH = 16
FEATURES, CLASSES, TOKENS, LENGTH = 8, 3, 12, 6
EXAMPLES = 20 * BATCH


def rows(_: DataSource) -> Dataset:
    """Rows of numbers and the class of each."""
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    y = np.argmax(x @ random.normal(size=(FEATURES, CLASSES)), axis=1)
    return Dataset(x, y, x[:64], y[:64])


def sentences(_: DataSource) -> Dataset:
    """Few tokens, so that a batch has each many times; 0 is padding."""
    random = np.random.default_rng(1)
    x = random.integers(1, TOKENS, size=(EXAMPLES, LENGTH)).astype(np.int32)
    x[::2, LENGTH // 2 :] = 0
    y = (x == 3).sum(axis=1) % CLASSES
    return Dataset(x, y, x[:64], y[:64])


def pictures(_: DataSource) -> Dataset:
    """Small pictures."""
    random = np.random.default_rng(2)
    x = random.normal(size=(EXAMPLES, 8, 8, 1)).astype(np.float32)
    y = (x.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
    return Dataset(x, y, x[:64], y[:64])


def two_targets(source: DataSource) -> Any:
    """Rows with two targets by name, and a weight for each example."""
    data = rows(source)
    targets = {"kind": data.y_train, "size": data.x_train[:, :1] ** 2}
    weights = np.linspace(0.5, 1.5, EXAMPLES).astype(np.float32)
    small = {name: part[:64] for name, part in targets.items()}
    return Dataset(data.x_train, targets, data.x_test, small, sample_weight={"kind": weights, "size": weights})


def classifier(*middle: Any, shape: tuple[int, ...] = (FEATURES,), dtype: str | None = None) -> keras.Model:
    """Layers that end in logits, in float32 whatever the policy."""
    head = [layers.Dense(CLASSES), layers.Activation("linear", dtype="float32")]
    return keras.Sequential([keras.Input(shape, dtype=dtype), *middle, *head])


def dense_model() -> keras.Model:
    return classifier(layers.Dense(16, activation="tanh"))


def normalised_model() -> keras.Model:
    """Its first bias comes before a batch normalisation, so its gradient is zero but for rounding."""
    return classifier(layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dense(8))


def embedding_model() -> keras.Model:
    return classifier(layers.Embedding(TOKENS, 4), layers.Flatten(), shape=(LENGTH,), dtype="int32")


def tied_model() -> keras.Model:
    """One table is looked up twice: its rows come from two places."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    table = layers.Embedding(TOKENS, 4)
    first, second = (layers.Flatten()(table(part)) for part in (tokens, tokens[:, ::2]))
    both = layers.Dense(CLASSES)(layers.Concatenate()([first, second]))
    return keras.Model(tokens, layers.Activation("linear", dtype="float32")(both))


def masked_model() -> keras.Model:
    return classifier(
        layers.Embedding(TOKENS, 4, mask_zero=True), layers.LSTM(5, use_cudnn=False), shape=(LENGTH,), dtype="int32"
    )


def constrained_model() -> keras.Model:
    limit = keras.constraints.MaxNorm(0.8)
    return classifier(layers.Dense(16, activation="tanh", kernel_constraint=limit, bias_constraint="non_neg"))


def stateful_model() -> keras.Model:
    inputs = keras.Input(batch_shape=(BATCH, LENGTH), dtype="int32")
    x = layers.GRU(5, stateful=True, use_cudnn=False)(layers.Embedding(TOKENS, 4)(inputs))
    return keras.Model(inputs, layers.Activation("linear", dtype="float32")(layers.Dense(CLASSES)(x)))


def attentive_model() -> keras.Model:
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, 8)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Activation("linear", dtype="float32")(layers.Dense(CLASSES)(x)))


def convolutional_model() -> keras.Model:
    middle = (
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(4, 2, activation="relu"),
        layers.Flatten(),
    )
    return classifier(*middle, shape=(8, 8, 1))


def frozen_model() -> keras.Model:
    base = keras.Sequential([layers.Dense(16), layers.BatchNormalization(), layers.ReLU()])
    base.trainable = False
    return classifier(base, layers.Dense(8, activation="relu"))


def deep_dropped_model() -> keras.Model:
    """What dropout draws moves its loss by less than rounding in bfloat16 does."""
    middle = [layer for _ in range(5) for layer in (layers.Dense(128, activation="relu"), layers.Dropout(0.1))]
    return classifier(*middle)


@keras.saving.register_keras_serializable("kinds")
class Noise(layers.Layer):  # type: ignore[misc] # Keras has no types.
    """Draws from TensorFlow's global generator, which no seed variable holds."""

    def call(self, inputs: Any) -> Any:
        return inputs + tf.random.normal(tf.shape(inputs), stddev=0.3, dtype=inputs.dtype)


def two_headed_model() -> keras.Model:
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(16, activation="tanh")(inputs)
    kind = layers.Activation("linear", dtype="float32", name="kind")(layers.Dense(CLASSES)(x))
    size = layers.Activation("linear", dtype="float32", name="size")(layers.Dense(1)(x))
    model = keras.Model(inputs, {"kind": kind, "size": size})
    losses = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
    model.compile(optimizers.Adam(0.01), loss=losses, loss_weights={"kind": 1.0, "size": 0.3})
    return model


class WithUnusedHead(keras.Model):  # type: ignore[misc] # Keras has no types.
    """Has a layer that no loss sees: the gradients of its weights are None."""

    def __init__(self) -> None:
        super().__init__()
        self.body = layers.Dense(16, activation="tanh")
        self.head = layers.Dense(CLASSES)
        self.unused = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        x = self.body(inputs)
        self.unused(x)
        return self.head(x)


def excluding() -> optimizers.Optimizer:
    optimizer = optimizers.AdamW(0.01, weight_decay=0.05, global_clipnorm=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class Sharpness(keras.Model):  # type: ignore[misc] # Keras has no types.
    """Two passes a step, the second from weights moved uphill (SAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = layers.Dense(16, activation="tanh")
        self.head = layers.Dense(CLASSES)
        self.body.build((None, FEATURES))  # Its step asks for the weights before it calls the model.
        self.head.build((None, 16))
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.head(self.body(inputs))

    def train_step(self, data: Any) -> Any:
        x, y = data
        weights = self.trainable_variables
        loss, gradients = self._gradients(x, y)
        size = tf.linalg.global_norm(gradients)
        moves = [0.05 * gradient / tf.cast(size + 1e-12, gradient.dtype) for gradient in gradients]
        for weight, move in zip(weights, moves, strict=True):
            weight.assign_add(move)
        _, uphill = self._gradients(x, y)
        for weight, move in zip(weights, moves, strict=True):
            weight.assign_sub(move)
        self.optimizer.apply_gradients(zip(uphill, weights, strict=True))
        return {"loss": loss}

    def _gradients(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            scaled = self.optimizer.scale_loss(loss)  # As it was, but for mixed_float16.
        return loss, list(tape.gradient(scaled, self.trainable_variables))


class Adversaries(keras.Model):  # type: ignore[misc] # Keras has no types.
    """Two networks with an optimizer each, stepped by one step (a GAN without noise)."""

    def __init__(self) -> None:
        super().__init__()
        self.maker, self.critic = layers.Dense(FEATURES), layers.Dense(1)
        self.maker.build((None, FEATURES))
        self.critic.build((None, FEATURES))
        self.makers, self.critics = optimizers.Adam(0.01), optimizers.RMSprop(0.01)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.critic(self.maker(inputs))

    def train_step(self, data: Any) -> Any:
        x = data[0]
        with tf.GradientTape() as tape:
            apart = keras.ops.mean(self.critic(self.maker(x))) - keras.ops.mean(self.critic(x))
            critic_loss = keras.ops.softplus(apart)
        weights = self.critic.trainable_variables
        self.critics.apply(tape.gradient(critic_loss, weights), weights)
        with tf.GradientTape() as tape:
            maker_loss = keras.ops.softplus(-keras.ops.mean(self.critic(self.maker(x))))
        weights = self.maker.trainable_variables
        self.makers.apply(tape.gradient(maker_loss, weights), weights)
        return {"loss": critic_loss, "maker_loss": maker_loss}


def adversaries_model() -> keras.Model:
    model = Adversaries()
    model.compile(optimizer=optimizers.SGD(0.01))
    return model


def build_loop(source: DataSource) -> Built:
    """A step without a Keras model: two layers, an optimizer each."""
    first, second = layers.Dense(16, activation="tanh"), layers.Dense(CLASSES)
    first.build((None, FEATURES))
    second.build((None, 16))
    slow, quick = optimizers.SGD(0.05, momentum=0.9), optimizers.Adam(0.01)
    slow.build(first.trainable_variables)
    quick.build(second.trainable_variables)
    data = rows(source)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(batch: Any) -> Any:
        x, y = batch
        mine, theirs = first.trainable_variables, second.trainable_variables
        with tf.GradientTape() as tape:
            loss = loss_of(y, second(first(x)))
        gradients = tape.gradient(loss, [*mine, *theirs])
        slow.apply(gradients[: len(mine)], mine)
        quick.apply(gradients[len(mine) :], theirs)
        return loss

    return Built(step, (data.x_train, data.y_train), [*first.variables, *second.variables], (slow, quick))


def kind(name: str, model: Callable[[], keras.Model], optimizer: Any = None, data: Any = rows) -> Workload:
    return Workload(name, model, data, optimizer=optimizer)


def decaying() -> Any:
    return optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9, staircase=True))


KINDS: dict[str, Workload | Training] = {
    one.name: one
    for one in (
        kind("dense", dense_model),
        kind("normalised", normalised_model),
        kind("embedding", embedding_model, data=sentences),
        kind("tied", tied_model, lambda: optimizers.Adagrad(0.05), sentences),
        kind("masked", masked_model, data=sentences),
        kind("stateful", stateful_model, data=sentences),
        kind("attentive", attentive_model, decaying, sentences),
        kind("convolutional", convolutional_model, data=pictures),
        kind("frozen", frozen_model, lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True)),
        kind("constrained", constrained_model, lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True)),
        kind(
            "regularised",
            lambda: classifier(layers.Dense(16, "tanh", kernel_regularizer="l2", activity_regularizer="l2")),
            lambda: optimizers.Nadam(0.01, clipvalue=0.1),
        ),
        kind("dropped", lambda: classifier(layers.Dense(16, activation="tanh"), layers.Dropout(0.3))),
        kind("unseeded", lambda: classifier(Noise(), layers.Dense(16, activation="tanh"))),
        Workload("two-headed", two_headed_model, two_targets),
        kind("unused-head", WithUnusedHead, excluding),
        kind("two-passes", Sharpness),
        Workload("adversaries", adversaries_model, rows),
        Training("loop", build_loop),
    )
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.5),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": excluding,
    "schedule": decaying,
    "ema": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "overwriting": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=5),
    "accumulating": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=4),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.05, l1_regularization_strength=0.001),
    "adafactor": lambda: optimizers.Adafactor(0.01),
    "lion": lambda: optimizers.Lion(0.001),
    "lamb": lambda: optimizers.Lamb(0.01),
    "muon": lambda: optimizers.Muon(0.01),
}


@keras.saving.register_keras_serializable("kinds")
class Narrow(layers.Layer):  # type: ignore[misc] # Keras has no types.
    """Multiplies by a constant that it keeps in float32, whatever its policy."""

    def call(self, inputs: Any) -> Any:
        return tf.cast(tf.cast(inputs, keras.config.floatx()) * tf.constant(2.0, tf.float32), inputs.dtype)


def unbuildable_model() -> keras.Model:
    if keras.config.floatx() == "float64":
        raise KeyError("There is no float64 here.")
    return dense_model()


@keras.saving.register_keras_serializable("kinds")
class Picky(layers.Layer):  # type: ignore[misc] # Keras has no types.
    """Does something else in float64 than in what people train in."""

    def call(self, inputs: Any) -> Any:
        return inputs * (1.01 if inputs.dtype == "float64" else 1.0)


NARROW = kind("narrow", lambda: classifier(layers.Dense(16), Narrow()))
UNBUILDABLE = kind("unbuildable", unbuildable_model)
PICKY = kind("picky", lambda: classifier(layers.Dense(16), Picky(), layers.Dense(8, activation="tanh")))
DEEP_DROPPED = kind("deep-dropped", deep_dropped_model)
FAINT_DROPPED = kind("faint-dropped", lambda: classifier(layers.Rescaling(1e-10), layers.Dropout(0.3)))
"""What dropout draws shows in the gradient of one weight alone, which is tiny beside that of its bias."""
