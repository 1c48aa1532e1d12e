from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import places
import pytest
import tensorflow as tf
from built import workload_at
from marks import few
from numpy.typing import NDArray
from workloads import gan, kinds

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training import executions
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.loop import Order, Trainer
from stepbench.training.state import TrainState
from stepbench.training.task import open_task
from stepbench.training.workload import Dataset, DataSource, Workload

pytestmark = pytest.mark.tensorflow

Step = Callable[..., Any]

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

TABULAR = workload_at(f"{places.EXAMPLES}/tabular.py:workload")
ROWS = TABULAR.data(DataSource("synthetic", limit=100)).limited(100)


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
    monkeypatch.setattr(executions, "_registered", {})

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
    case = Case(workload.name, Variant(execution, Precision.FLOAT32), Device.CPU, batch_size, steps_per_call)
    task = open_task(dataclasses.replace(workload, data=lambda _: dataset), DataSource("synthetic"))
    return Trainer(case, task, order)


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
    seeds = {Order(seed, shuffle=True).of_epoch(epoch) for seed in (1, 2) for epoch in (1, 2)}
    assert len(seeds) == 4
    assert Order(1, shuffle=True).of_epoch(1) in seeds
    assert Order(seed=1).of_epoch(1) is None


@pytest.mark.parametrize(("steps_per_call", "calls"), [(4, [4, 1, 1]), (7, [1] * 6)])
def test_steps_that_fill_no_call_are_made_one_by_one(steps_per_call: int, calls: list[int]) -> None:
    by_single_steps = trainer("graph", ROWS, TABULAR)
    ours = trainer("graph", ROWS, TABULAR, steps_per_call=steps_per_call)
    made: list[int] = []
    epoch, expected = ours.run_epoch(1, made.append), by_single_steps.run_epoch(1)
    assert made == calls
    assert epoch.figures == pytest.approx(expected.figures, rel=1e-6)
    assert epoch.examples == expected.examples == 96
    for mine, its in zip(values(ours), values(by_single_steps), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)


def test_nothing_is_traced_again_in_a_later_epoch() -> None:
    ours = trainer("graph", ROWS, TABULAR, steps_per_call=4)
    for number in (1, 2):
        ours.run_epoch(number)
        calls: list[Any] = [ours._call, ours._last_call]
        assert [call.experimental_get_tracing_count() for call in calls] == [1, 1]


def test_figures_of_an_epoch_are_means_over_that_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "_registered", {})

    @stepbench.variant("counting")
    def counting(state: TrainState) -> Step:
        def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            state.optimizer.iterations.assign_add(1)
            loss = tf.cast(state.optimizer.iterations, tf.float32)
            state.metrics.loss.update_state(loss)
            assert state.metrics.accuracy
            state.metrics.accuracy.update_state(y, tf.one_hot(tf.zeros_like(y), 10) + 0 * x)
            return loss

        return step

    ours = trainer("counting", numbered(20), batch_size=5)
    first, second = ours.run_epoch(1), ours.run_epoch(2)
    assert (first.loss, second.loss) == (2.5, 6.5)
    # Two of the twenty labels are 0.
    assert (first.figures["accuracy"], second.figures["accuracy"]) == pytest.approx((0.1, 0.1))


def test_what_a_step_does_not_count_is_not_shown_as_0(seen: list[tuple[list[int], list[int]]]) -> None:
    epoch = trainer("watch", numbered(4), batch_size=4).run_epoch(1)
    assert len(seen) == 1
    assert math.isnan(epoch.loss)
    assert epoch.figures == {}


@pytest.mark.parametrize("test_examples", [500, 3])
def test_evaluation_is_over_every_test_example(test_examples: int) -> None:
    dataset = numbered(16, test_examples)
    ours = trainer("graph", dataset)
    ours.run_epoch(1)
    evaluation = ours.evaluate()
    kernel, bias = (weight.numpy().astype(np.float64) for weight in ours.state.model.weights)
    logits = np.asarray(dataset.x_test, np.float64) @ kernel + bias
    highest = logits.max(axis=1, keepdims=True)
    log_chances = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    assert evaluation.examples == test_examples
    assert evaluation.loss == pytest.approx(-log_chances[np.arange(test_examples), dataset.y_test].mean(), rel=1e-4)
    accuracy = (logits.argmax(axis=1) == dataset.y_test).mean()
    assert evaluation.figures["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_evaluation_changes_nothing_that_is_trained() -> None:
    ours = trainer("graph", ROWS, TABULAR)
    ours.run_epoch(1)
    trained = [*ours.state.weights, *ours.state.optimizer.variables]
    before = [variable.numpy() for variable in trained]
    assert ours.evaluate() == ours.evaluate()
    for variable, value in zip(trained, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_training_learns_the_task() -> None:
    ours = trainer("graph", TABULAR.data(DataSource("synthetic", limit=6400)), TABULAR, batch_size=64)
    before = ours.evaluate()
    losses = [ours.run_epoch(number).loss for number in (1, 2, 3)]
    assert losses == sorted(losses, reverse=True)
    assert before.loss
    assert (ours.evaluate().loss or math.nan) < 0.9 * before.loss


def test_less_than_one_batch_is_refused() -> None:
    with pytest.raises(
        stepbench.StepbenchError, match=r"training set has 15 examples: choose a batch size of at most that, not 16\."
    ):
        trainer("graph", numbered(15))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("STEPBENCH_DATA"), reason="STEPBENCH_DATA names no folder with CIFAR-10")
def test_network_learns_on_real_images() -> None:
    workload = workload_at("cifar-cnn")
    source = resolve_source("cifar10", limit=6400)
    ours = trainer("graph", workload.data(source).limited(6400), workload, batch_size=64)
    assert ours.run_epoch(1).loss < 2.1
    assert ours.evaluate().figures["accuracy"] > 0.25


def train_one_epoch(workload: Any, execution: str = "graph") -> Trainer:
    case = Case(workload.name, Variant(execution, Precision.FLOAT32), Device.CPU, kinds.BATCH)
    return Trainer(case, open_task(workload, DataSource("synthetic")), Order(seed=1))


@pytest.mark.parametrize(
    "workload",
    few(kinds.vector_metric, of=[kinds.two_outputs, kinds.vector_metric, kinds.gan]),
    ids=lambda one: one.name,
)
def test_figures_of_an_epoch_are_those_that_fit_shows(workload: Workload) -> None:
    epoch = train_one_epoch(workload).run_epoch(1)
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    training, _ = workload.data(DataSource("synthetic"))
    x, y = training if isinstance(training, tuple) else (training, None)
    history = workload.model().fit(x, y, batch_size=kinds.BATCH, shuffle=False, verbose=0).history
    expected = {name: np.ravel(value[-1]) for name, value in history.items()}
    assert {name.partition("[")[0] for name in epoch.figures} == set(expected)
    for name, value in expected.items():
        shown = [figure for label, figure in epoch.figures.items() if label.partition("[")[0] == name]
        np.testing.assert_allclose(shown, value, rtol=1e-6)


def test_a_training_without_a_keras_model_shows_its_last_figures_and_evaluates_itself() -> None:
    ours = train_one_epoch(gan.training)
    assert ours.steps_per_epoch == 10
    epoch = ours.run_epoch(1)
    assert (set(epoch.figures), epoch.examples) == ({"critic", "generator"}, 80)
    assert set(ours.evaluate().figures) == {"spread"}


def test_a_pipeline_decides_the_batch_size_where_none_is_asked_for() -> None:
    case = Case("pipeline", Variant("graph", Precision.FLOAT32), Device.CPU, 64)
    task = open_task(kinds.pipeline, DataSource("synthetic"))
    ours = Trainer(case, task, Order(seed=1), has_own_batch_size=True)
    assert (ours.case.batch_size, ours.run_epoch(1).examples) == (kinds.BATCH, kinds.ROWS)


def test_without_test_data_there_is_nothing_to_evaluate() -> None:
    evaluation = train_one_epoch(kinds.functional).evaluate()
    assert (evaluation.figures, evaluation.examples, evaluation.loss) == ({}, 0, None)
