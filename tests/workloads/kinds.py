"""Small models of many kinds, compiled as their authors would, with data as ``fit`` takes it.

Each attribute is a :class:`stepbench.Workload` of five batches of eight examples. No model here needs stepbench.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import stepbench

BATCH = 8
ROWS = 5 * BATCH
FEATURES, CLASSES, WORDS, LENGTH = 6, 3, 20, 3

_random = np.random.default_rng(0)
TABLE = _random.normal(size=(ROWS, FEATURES)).astype(np.float32)
LABELS = _random.integers(0, CLASSES, ROWS)
TARGETS = _random.normal(size=(ROWS, 1))  # In float64, as NumPy gives them.
WEIGHTS = _random.uniform(0.1, 2.0, ROWS).astype(np.float32)
IMAGES = _random.normal(size=(ROWS, 6, 6, 1)).astype(np.float32)
SEQUENCES = _random.normal(size=(ROWS, LENGTH, 2)).astype(np.float32)
SENTENCES = _random.integers(1, WORDS, (ROWS, LENGTH)) * (
    np.arange(LENGTH) < _random.integers(1, LENGTH + 1, (ROWS, 1))
)
TEXTS = [" ".join(f"w{word}" for word in sentence if word) for sentence in SENTENCES]

Layers = list[Any]


def _compiled(parts: Layers, loss: Any, optimizer: Any = None, **more: Any) -> keras.Model:
    model = keras.Sequential(parts)
    model.compile(loss=loss, optimizer=optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **more)
    return model


def _workload(name: str, model: Callable[[], keras.Model], *training: Any) -> stepbench.Workload:
    data = training if len(training) > 1 else training[0]
    return stepbench.Workload(name, model, lambda _: (data, None))


# Losses, optimizers and metrics by their names; an explicit input and dropout.


def _functional() -> keras.Model:
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dropout(0.2)(layers.Dense(4, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", dtype="float32")(hidden))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


functional = _workload("functional", _functional, TABLE, LABELS)


# Weights are made when the first batch comes.


class Net(keras.Model):  # type: ignore[misc] # Keras is untyped, here and below.
    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(4, activation="tanh")
        self.last = layers.Dense(CLASSES)

    def call(self, x: Any) -> Any:
        return self.last(self.hidden(x))


def _subclassed(kind: type[keras.Model] = Net, **more: Any) -> keras.Model:
    model = kind()
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **more,
    )
    return model


subclassed = _workload("subclassed", _subclassed, TABLE, LABELS)


# Several inputs and outputs, by their names.


def _dict_inputs() -> keras.Model:
    inputs = {"table": keras.Input((FEATURES,), name="table"), "image": keras.Input((6, 6, 1), name="image")}
    seen = layers.Dense(2)(layers.Flatten()(inputs["image"]))
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([inputs["table"], seen])))
    model.compile(optimizer="sgd", loss="mse")
    return model


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return ROWS // BATCH

    def __getitem__(self, number: int) -> Any:
        rows = slice(number * BATCH, (number + 1) * BATCH)
        return {"table": TABLE[rows], "image": IMAGES[rows]}, TARGETS[rows]


dict_inputs = _workload("dict-inputs", _dict_inputs, {"image": IMAGES, "table": TABLE}, TARGETS)
py_dataset = _workload("py-dataset", _dict_inputs, Batches())


def _two_outputs() -> keras.Model:
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dense(4, activation="relu")(inputs)
    outputs = {"price": layers.Dense(1, name="price")(hidden), "kind": layers.Dense(CLASSES, name="kind")(hidden)}
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer="rmsprop",
        loss={"price": "mse", "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        loss_weights={"price": 0.3, "kind": 1.5},
        metrics={"kind": ["accuracy"], "price": ["mae"]},
    )
    return model


two_outputs = _workload("two-outputs", _two_outputs, TABLE, {"kind": LABELS, "price": TARGETS})


# Weighted examples.

sample_weights = _workload("sample-weights", _subclassed, TABLE, LABELS, WEIGHTS)


# Steps and losses of the model's own.


class Sam(Net):
    """Sharpness-aware minimisation: the gradient is taken where the loss is highest nearby."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        gradients = self._gradients(x, y)[1]
        weights = self.trainable_variables
        length = tf.linalg.global_norm(gradients)
        shifts = [0.05 * gradient / (length + 1e-12) for gradient in gradients]
        for weight, shift in zip(weights, shifts, strict=True):
            weight.assign_add(shift)
        loss, gradients = self._gradients(x, y)
        for weight, shift in zip(weights, shifts, strict=True):
            weight.assign_sub(shift)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return {"loss": loss}

    def _gradients(self, x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        return loss, tape.gradient(loss, self.trainable_variables)


sam = _workload("sam", lambda: _subclassed(Sam), TABLE, LABELS)


class Gan(keras.Model):  # type: ignore[misc]
    """Two optimizers, random numbers in the step, metrics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(FEATURES)])
        self.critic = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(4, activation="relu"), layers.Dense(1)])
        self.seeds = keras.random.SeedGenerator(7)
        self.seen = keras.metrics.Mean("loss")

    @property
    def metrics(self) -> Any:
        return [self.seen]

    def compile(self, critic_optimizer: Any, generator_optimizer: Any) -> None:
        super().compile()
        self.critic_optimizer, self.generator_optimizer = critic_optimizer, generator_optimizer

    def train_step(self, real: Any) -> Any:
        noise = keras.random.normal((tf.shape(real)[0], 2), seed=self.seeds)
        with tf.GradientTape() as tape:
            real_score, fake_score = self.critic(real), self.critic(self.generator(noise))
            loss = tf.reduce_mean(tf.nn.softplus(-real_score) + tf.nn.softplus(fake_score))
        weights = self.critic.trainable_variables
        self.critic_optimizer.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            generated = tf.reduce_mean(tf.nn.softplus(-self.critic(self.generator(noise))))
        weights = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(generated, weights), weights)
        self.seen.update_state(loss)
        return {"loss": self.seen.result(), "generator": generated}


def _gan() -> keras.Model:
    model = Gan()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.02))
    return model


gan = _workload("gan", _gan, TABLE)


class Contrastive(Net):
    """Its loss is no function of targets and outputs alone."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        usual = super().compute_loss(x=x, y=y, y_pred=y_pred)
        return usual + 0.1 * ops.mean(ops.square(y_pred)) * ops.mean(ops.abs(x))


compute_loss = _workload("compute-loss", lambda: _subclassed(Contrastive), TABLE, LABELS)


class Sampling(layers.Layer):  # type: ignore[misc]
    """Adds to the loss, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        self.add_loss(0.01 * ops.mean(ops.square(x)))
        return x + 0.1 * keras.random.normal(ops.shape(x), seed=self.seeds)


def _added_loss() -> keras.Model:
    narrow = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.01))
    return _compiled([keras.Input((FEATURES,)), narrow, Sampling(), layers.Dense(FEATURES)], "mse")


added_loss = _workload("added-loss", _added_loss, TABLE, TABLE)


# Layers that keep something.


def _batch_normalised() -> keras.Model:
    """The first layer is not trained; the second's bias is cancelled by the normalisation."""
    frozen = layers.Conv2D(2, 3, trainable=False)
    parts = [keras.Input((6, 6, 1)), frozen, layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten()]
    return _compiled([*parts, layers.Dense(1)], "mse")


batch_normalised = _workload("batch-normalised", _batch_normalised, IMAGES, TARGETS)


def _stateful() -> keras.Model:
    inputs = keras.Input((LENGTH, 2), batch_size=BATCH)
    return _compiled([inputs, layers.LSTM(3, stateful=True, unroll=True), layers.Dense(1)], "mae")


stateful = _workload("stateful", _stateful, SEQUENCES, TARGETS)


# Words: sparse gradients, masks, strings.


def _embedding() -> keras.Model:
    parts = [layers.Embedding(WORDS, 4), layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)]
    return _compiled(parts, keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.Adam(0.01))


embedding = _workload("embedding", _embedding, SENTENCES, LABELS)


def _masked() -> keras.Model:
    """A tagger: a figure for each word, none for the padding."""
    parts = [
        keras.Input((LENGTH,)),
        layers.Embedding(WORDS, 4, mask_zero=True),
        layers.SimpleRNN(4, return_sequences=True, unroll=True),
        layers.Dense(3),
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _compiled(parts, loss)


masked = _workload("masked", _masked, SENTENCES, SENTENCES % CLASSES)


def _strings() -> keras.Model:
    vocabulary = [f"w{word}" for word in range(1, WORDS)]
    words = layers.TextVectorization(output_sequence_length=LENGTH, vocabulary=vocabulary)
    parts = [keras.Input((), dtype="string"), words, layers.Embedding(WORDS + 1, 3), layers.Flatten(), layers.Dense(1)]
    return _compiled(parts, "mse")


strings = _workload("strings", _strings, tf.constant(TEXTS), TARGETS)


# What is measured on the way.


def _no_metric() -> keras.Model:
    return _compiled([keras.Input((FEATURES,)), layers.Dense(1)], "mean_squared_logarithmic_error")


no_metric = _workload("no-metric", _no_metric, TABLE, np.abs(TARGETS))


def _vector_metric() -> keras.Model:
    parts = [keras.Input((FEATURES,)), layers.Dense(CLASSES, activation="softmax", dtype="float32")]
    return _compiled(parts, "categorical_crossentropy", metrics=[keras.metrics.F1Score()])


vector_metric = _workload("vector-metric", _vector_metric, TABLE, np.eye(CLASSES, dtype=np.float32)[LABELS])


# Pipelines.


def _pipeline() -> tf.data.Dataset:
    examples = tf.data.Dataset.from_tensor_slices((TABLE, LABELS, WEIGHTS))
    return examples.map(lambda x, y, weight: (2 * x, y, weight)).batch(BATCH)


pipeline = _workload("pipeline", lambda: _subclassed(weighted_metrics=["accuracy"]), _pipeline())


# Optimizers that look at more than a gradient.


def _optimized(optimizer: Callable[[], Any]) -> Callable[[], keras.Model]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    parts: Callable[[], Layers] = lambda: [  # noqa: E731 - new layers for each model.
        keras.Input((FEATURES,)),
        layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.8)),
        layers.Dense(CLASSES),
    ]
    return lambda: _compiled(parts(), loss, optimizer())


def _adamw() -> Any:
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5), use_ema=True, ema_overwrite_frequency=3, clipnorm=0.5
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


lion = _workload("lion", _optimized(lambda: keras.optimizers.Lion(0.01)), TABLE, LABELS)
muon = _workload("muon", _optimized(lambda: keras.optimizers.Muon(0.01)), TABLE, LABELS)
adamw = _workload("adamw", _optimized(_adamw), TABLE, LABELS)

ALL = (
    *(functional, dict_inputs, py_dataset, two_outputs, sample_weights, sam, gan, compute_loss, added_loss),
    *(batch_normalised, stateful, embedding, masked, strings, no_metric, vector_metric, pipeline, lion, muon, adamw),
)
