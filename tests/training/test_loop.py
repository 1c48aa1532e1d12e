from __future__ import annotations

import dataclasses
import math
import os
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import places
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training import variants
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.loop import Order, Trainer
from stepbench.training.step import TrainState
from stepbench.training.workload import Dataset, DataSource, Workload, load_workload

pytestmark = pytest.mark.tensorflow

if TYPE_CHECKING:
    from stepbench.training.variants import Step

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

TABULAR = load_workload(f"{places.EXAMPLES}/tabular.py:workload")
ROWS = TABULAR.data(DataSource("synthetic", limit=100))


def numbered(examples: int, test_examples: int = 1) -> Dataset:
    """Examples that hold their own number, with the last digit as their label."""
    train, test = np.arange(examples), np.arange(test_examples)
    return Dataset(train[:, None].astype(np.float32), train % 10, test[:, None].astype(np.float32), test % 10)


def linear_model() -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(10)])


LINEAR = Workload("linear", linear_model, lambda _: numbered(1))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """The numbers and labels of the batches that the execution ``watch`` was given."""
    batches = []
    monkeypatch.setattr(variants, "_registered", {})

    @stepbench.variant("watch")
    def watch(_: TrainState) -> Step:
        def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            def note(x: tf.Tensor, y: tf.Tensor) -> None:
                batches.append((x.numpy().ravel().astype(int).tolist(), y.numpy().tolist()))

            tf.py_function(note, (x, y), ())
            return tf.constant(0.0)

        return step

    return batches


def trainer(
    execution: str,
    dataset: Dataset,
    workload: Workload = LINEAR,
    *,
    batch_size: int = 16,
    steps_per_call: int = 1,
    order: Order = Order(seed=0),  # noqa: B008 - it is frozen.
) -> Trainer:
    variant = Variant(execution, Precision.FLOAT32)
    return Trainer(Case(workload.name, variant, Device.CPU, batch_size, steps_per_call), workload, dataset, order)


def values(ours: Trainer) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in ours.state.variables]


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_full_batches_come_in_the_published_order_and_what_is_left_over_sits_out(
    steps_per_call: int, seen: list[tuple[list[int], list[int]]]
) -> None:
    ours = trainer("watch", numbered(13), batch_size=4, steps_per_call=steps_per_call)
    epochs = [ours.run_epoch(1), ours.run_epoch(2)]
    batches = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [x for x, _ in seen] == 2 * batches
    assert [y for _, y in seen] == [[number % 10 for number in batch] for batch in 2 * batches]
    assert ours.steps_per_epoch == 3
    assert [(epoch.number, epoch.examples) for epoch in epochs] == [(1, 12), (2, 12)]
    assert all(epoch.seconds > 0 for epoch in epochs)


def test_shuffling_shows_each_example_once_with_its_label(seen: list[tuple[list[int], list[int]]]) -> None:
    trainer("watch", numbered(12), batch_size=4, order=Order(5, shuffle=True)).run_epoch(1)
    numbers = [number for x, _ in seen for number in x]
    assert sorted(numbers) == list(range(12))
    assert numbers != sorted(numbers)
    assert [label for _, y in seen for label in y] == [number % 10 for number in numbers]


def test_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        order = Order(seed, shuffle=True).rows(epoch, 50)
        assert order is not None
        return list(order)

    assert rows(seed=1, epoch=1) == rows(seed=1, epoch=1)
    assert rows(seed=1, epoch=1) != rows(seed=1, epoch=2)
    assert rows(seed=1, epoch=1) != rows(seed=2, epoch=1)
    assert Order(seed=1).rows(1, 50) is None


@pytest.mark.parametrize(("steps_per_call", "calls"), [(4, [4, 1, 1]), (3, [3, 3]), (7, [1] * 6)])
def test_steps_that_fill_no_call_are_made_one_by_one(steps_per_call: int, calls: list[int]) -> None:
    by_single_steps = trainer("graph", ROWS, TABULAR)
    ours = trainer("graph", ROWS, TABULAR, steps_per_call=steps_per_call)
    made: list[int] = []
    epoch, expected = ours.run_epoch(1, made.append), by_single_steps.run_epoch(1)
    assert made == calls
    assert (epoch.loss, epoch.accuracy) == pytest.approx((expected.loss, expected.accuracy), rel=1e-6)
    assert epoch.examples == expected.examples == 96
    for mine, its in zip(values(ours), values(by_single_steps), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_nothing_is_traced_again_in_a_later_epoch(steps_per_call: int) -> None:
    ours = trainer("graph", ROWS, TABULAR, steps_per_call=steps_per_call)
    for number in (1, 2):
        ours.run_epoch(number)
        calls: list[Any] = [ours._call] if steps_per_call == 1 else [ours._call, ours._last_call]
        assert [call.experimental_get_tracing_count() for call in calls] == [1] * len(calls)


def test_figures_of_an_epoch_are_means_over_that_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "_registered", {})

    @stepbench.variant("counting")
    def counting(state: TrainState) -> Step:
        def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            state.optimizer.iterations.assign_add(1)
            loss = tf.cast(state.optimizer.iterations, tf.float32)
            state.metrics.loss.update_state(loss)
            state.metrics.accuracy.update_state(y, tf.one_hot(tf.zeros_like(y), 10) + 0 * x)
            return loss

        return step

    ours = trainer("counting", numbered(20), batch_size=5)
    first, second = ours.run_epoch(1), ours.run_epoch(2)
    assert (first.loss, second.loss) == (2.5, 6.5)
    # Two of the twenty labels are 0.
    assert (first.accuracy, second.accuracy) == pytest.approx((0.1, 0.1))


def test_what_a_step_does_not_count_is_not_shown_as_0(seen: list[tuple[list[int], list[int]]]) -> None:
    epoch = trainer("watch", numbered(4), batch_size=4).run_epoch(1)
    assert len(seen) == 1
    assert math.isnan(epoch.loss)
    assert math.isnan(epoch.accuracy)


@pytest.mark.parametrize("test_examples", [500, 1003, 3])
def test_evaluation_is_over_every_test_example(test_examples: int) -> None:
    dataset = numbered(16, test_examples)
    traces = []

    class Accuracy(keras.metrics.SparseCategoricalAccuracy):  # type: ignore[misc] # Keras is untyped.
        def update_state(self, y: tf.Tensor, outputs: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
            traces.append(y.shape)
            super().update_state(y, outputs, sample_weight)

    ours = trainer("graph", dataset, dataclasses.replace(LINEAR, metric=lambda: Accuracy(name="accuracy")))
    ours.run_epoch(1)
    traces.clear()
    evaluation = ours.evaluate()

    kernel, bias = (weight.numpy().astype(np.float64) for weight in ours.state.model.weights)
    logits = np.asarray(dataset.x_test, np.float64) @ kernel + bias
    highest = logits.max(axis=1, keepdims=True)
    log_chances = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    assert evaluation.examples == test_examples
    assert evaluation.loss == pytest.approx(-log_chances[np.arange(test_examples), dataset.y_test].mean(), rel=1e-4)
    assert evaluation.accuracy == pytest.approx((logits.argmax(axis=1) == dataset.y_test).mean(), abs=1e-6)
    assert traces == [(None,)], "the short last batch is no other function"


def test_evaluation_changes_nothing_that_is_trained() -> None:
    ours = trainer("graph", ROWS, TABULAR)
    ours.run_epoch(1)
    before = values(ours)
    assert ours.evaluate() == ours.evaluate()
    for mine, its in zip(values(ours), before, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_training_learns_the_task() -> None:
    ours = trainer("graph", TABULAR.data(DataSource("synthetic", limit=6400)), TABULAR, batch_size=64)
    before = ours.evaluate()
    losses = [ours.run_epoch(number).loss for number in (1, 2, 3)]
    assert losses == sorted(losses, reverse=True)
    assert ours.evaluate().loss < 0.9 * before.loss


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_less_than_one_batch_is_refused(steps_per_call: int) -> None:
    with pytest.raises(
        stepbench.StepbenchError,
        match=r"training set has 15 examples: choose a batch size of at most that, not 16\.",
    ):
        trainer("graph", numbered(15), steps_per_call=steps_per_call)


@pytest.mark.skipif(not os.environ.get("STEPBENCH_DATA"), reason="STEPBENCH_DATA names no folder with CIFAR-10")
def test_network_learns_on_real_images() -> None:
    workload = load_workload("cifar-cnn")
    source = resolve_source("cifar10", limit=6400)
    ours = trainer("graph", workload.data(source).limited(6400), workload, batch_size=64)
    assert ours.run_epoch(1).loss < 2.1
    assert ours.evaluate().accuracy > 0.25
