"""Counts of real graphs against counts by hand: convolutions and matrix products, two operations a multiply-add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stepbench.records.cases import Precision
from stepbench.records.run import Work
from stepbench.training.locate import load_workload
from stepbench.training.task import Task, open_task
from stepbench.training.workload import Dataset, DataSource, Workload
from stepbench.worker.work import count_steps, tally_graph

pytestmark = pytest.mark.tensorflow

BATCH = 8
EXAMPLES = 24
IMAGES = 64

# Multiply-adds of each layer for one image: results, times what each sums over.
CNN = {
    "conv 1": (30 * 30 * 32) * (3 * 3 * 3),
    "conv 2": (13 * 13 * 64) * (3 * 3 * 32),
    "conv 3": (4 * 4 * 64) * (3 * 3 * 64),
    "dense 1": 64 * 1024,
    "dense 2": 10 * 64,
}
CNN_STEP = 2 * (3 * sum(CNN.values()) - CNN["conv 1"])
"""Forward, and the gradients of weights and of inputs; the first layer's input, the images, needs none."""


def counted(model: Callable[[], keras.Model], shape: tuple[int, ...], precision: Precision = Precision.FLOAT32) -> Work:
    (work,) = count_steps(task_of(model, shape), [(precision, BATCH)])
    return work


def task_of(model: Callable[[], keras.Model], shape: tuple[int, ...], examples: int = EXAMPLES) -> Task:
    x, y = np.zeros((examples, *shape), np.float32), np.zeros(examples, np.int64)
    return open_task(Workload("planted", model, lambda _: Dataset(x, y, x, y)), DataSource("synthetic"))


def sequence(*middle: Callable[[], layers.Layer], shape: tuple[int, ...]) -> Callable[[], keras.Model]:
    return lambda: keras.Sequential(
        [keras.Input(shape), *(layer() for layer in middle), layers.Dense(4, dtype="float32")]
    )


def cnn() -> Task:
    workload = load_workload("cifar-cnn")
    assert isinstance(workload, Workload)
    return task_of(workload.model, (32, 32, 3), IMAGES)


def cnn_steps(*steps: tuple[Precision, int]) -> tuple[Work, ...]:
    return count_steps(cnn(), steps)


def test_the_built_in_network_is_counted_as_by_hand_at_any_precision_and_batch_size() -> None:
    assert pytest.approx(25.7e6, rel=2e-3) == CNN_STEP
    steps = [(precision, size) for precision in Precision for size in (1, 64)]
    for (_, size), work in zip(steps, cnn_steps(*steps), strict=True):
        assert work.flops == size * CNN_STEP
        assert work.examples == IMAGES


def test_half_precision_moves_about_half_the_bytes() -> None:
    full, *halves = cnn_steps(*((precision, 64) for precision in Precision))
    for half in halves:
        assert 0.5 < half.bytes / full.bytes < 0.6


def test_twice_the_layers_are_twice_the_work() -> None:
    def hidden() -> layers.Layer:
        return layers.Dense(32, activation="relu")

    first, each, last = 8 * 32, 32 * 32, 32 * 4
    for count in (2, 4):
        work = counted(sequence(*[hidden] * count, shape=(8,)), (8,))
        assert work.flops == 2 * BATCH * (2 * first + 3 * ((count - 1) * each + last))


@pytest.mark.parametrize(("layer", "gates"), [(layers.LSTM, 4), (layers.GRU, 3), (layers.SimpleRNN, 1)])
def test_a_recurrent_layer_is_counted_for_each_of_its_turns(layer: type[layers.Layer], gates: int) -> None:
    turns, features, units = 20, 8, 16
    work = counted(sequence(lambda: layer(units), shape=(turns, features)), (turns, features))
    recurrent = turns * gates * (2 * features * units + 3 * units * units)
    assert work.flops == 2 * BATCH * (recurrent + 3 * units * 4)


def test_attention_is_counted_as_by_hand() -> None:
    length, width, heads, depth = 20, 8, 2, 4

    def model() -> keras.Model:
        given = keras.Input((length, width))
        attended = layers.MultiHeadAttention(heads, depth)(given, given)
        return keras.Model(given, layers.Dense(4, dtype="float32")(layers.GlobalAveragePooling1D()(attended)))

    projected = length * width * heads * depth
    scores = heads * length * length * depth
    # Queries, keys and values need no gradient of what is given.
    by_hand = 2 * 3 * projected + 3 * (2 * scores + projected) + 3 * width * 4
    assert counted(model, (length, width)).flops == 2 * BATCH * by_hand


@pytest.mark.parametrize(
    ("convolution", "multiply_adds", "shape"),
    [
        (lambda: layers.Conv2D(16, 3, strides=2, padding="same"), 10 * 10 * 16 * 9 * 8, (20, 20, 8)),
        (lambda: layers.Conv2D(16, 3, groups=4), 18 * 18 * 16 * 9 * 2, (20, 20, 8)),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), 18 * 18 * 16 * 9, (20, 20, 8)),
        (lambda: layers.Conv2DTranspose(16, 3), 20 * 20 * 8 * 9 * 16, (20, 20, 8)),
        (lambda: layers.Conv1D(16, 3), 18 * 16 * 3 * 8, (20, 8)),
        (lambda: layers.Conv3D(16, 3), 4 * 4 * 4 * 16 * 27 * 8, (6, 6, 6, 8)),
    ],
    ids=["strided", "grouped", "depthwise", "transposed", "one axis", "three axes"],
)
def test_every_kind_of_convolution_is_counted_three_times(
    convolution: Callable[[], layers.Layer], multiply_adds: int, shape: tuple[int, ...]
) -> None:
    """The layer before it is there to need its gradient."""
    width = shape[-1]
    made = sequence(lambda: layers.Dense(width), convolution, layers.Flatten, shape=shape)
    outputs = int(np.prod(made().layers[-2].output.shape[1:]))
    before = int(np.prod(shape)) * width
    assert counted(made, shape).flops == 2 * BATCH * (2 * before + 3 * (multiply_adds + outputs * 4))


class Odd(layers.Layer):  # type: ignore[misc] # Keras is untyped.
    """Multiplies by one, computed in an odd way."""

    def __init__(self, one: Callable[[Any], Any]) -> None:
        super().__init__()
        self.one = one

    def call(self, x: Any) -> Any:
        return x * tf.stop_gradient(tf.cast(self.one(x), x.dtype))


def endless(x: Any) -> Any:
    return tf.while_loop(lambda value: tf.reduce_max(value) < 0, lambda value: value + 1, [x])[0]


ODD: dict[str, Callable[[Any], Any]] = {
    "a loop of unknown length": endless,
    "type RFFT": lambda x: tf.math.real(tf.signal.rfft(x))[:, :1],
    "type Cholesky": lambda _: tf.linalg.cholesky(tf.eye(8))[0],
    "type PyFunc": lambda x: tf.reshape(tf.numpy_function(np.sum, [x], tf.float32), ()),
}


@pytest.mark.parametrize("what", ODD)
def test_what_cannot_be_counted_is_told_and_costs_not_what_can_be(what: str) -> None:
    work = counted(sequence(lambda: Odd(ODD[what]), shape=(8,)), (8,))
    assert any(what in told for told in work.uncounted)
    assert work.flops >= 2 * BATCH * 2 * 8 * 4
    assert counted(sequence(layers.ReLU, shape=(8,)), (8,)).uncounted == ()


def tally_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> tuple[float, float]:
    specs = [tf.TensorSpec(shape) for shape in shapes]
    tally = tally_graph(tf.function(function, autograph=False).get_concrete_function(*specs).graph)
    return tally.flops, tally.bytes


@pytest.mark.parametrize(
    ("equation", "shapes", "multiply_adds"),
    [
        ("ab,bc->ac", [(2, 3), (3, 5)], 30),
        ("...a,ab->...b", [(7, 2, 3), (3, 5)], 210),
        ("...ab,...bc->...ac", [(4, 2, 3), (1, 3, 5)], 120),
        ("ab->ba", [(2, 3)], 0),
    ],
)
def test_an_einsum_takes_a_multiply_add_for_each_combination_of_indices(
    equation: str, shapes: list[tuple[int, ...]], multiply_adds: int
) -> None:
    flops, _ = tally_of(lambda *operands: tf.einsum(equation, *operands), *shapes)
    assert flops == 2 * multiply_adds


def test_of_two_branches_the_larger_is_counted() -> None:
    def branches(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(x[0, 0] > 0, lambda: tf.linalg.matmul(x, x), lambda: x)

    assert tally_of(branches, (4, 4))[0] == 2 * 4 * 4 * 4


def test_what_no_result_depends_on_is_not_run() -> None:
    def wasteful(x: tf.Tensor) -> tf.Tensor:
        tf.linalg.matmul(x, x)
        return tf.nn.relu(x)

    assert tally_of(wasteful, (4, 4)) == (0.0, 2 * 64)


def test_bytes_are_what_operations_read_and_write() -> None:
    variable = tf.Variable(tf.ones((8, 16)))

    def moved(x: tf.Tensor) -> tf.Tensor:
        product = tf.linalg.matmul(tf.identity(x), variable)
        variable.assign_sub(tf.reshape(tf.nn.relu(product), (8, 16)))
        return product

    in_product, in_relu, in_update = 4 * (64 + 128 + 128), 4 * (128 + 128), 4 * 3 * 128
    assert tally_of(moved, (8, 8)) == (2 * 8 * 8 * 16, in_product + in_relu + in_update)
