"""Batches: the rows of arrays in any order, and what pipelines make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from workloads import kinds

import stepbench
from stepbench.records.cases import Device
from stepbench.training.devices import use_device
from stepbench.training.feed import Feed, batch_size_of, feed_of, first_batch, stacked
from stepbench.training.fit_data import FitData, fit_data

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

TEN = np.arange(10)


def numbers(feed: Feed, batch_size: int, **options: Any) -> list[list[float]]:
    """What single inputs hold, batch by batch, in one pass."""
    seen: list[list[float]] = []
    feed.each(batch_size, lambda batch: seen.append(np.ravel(batch).tolist()), passes=1, **options)
    return seen


@pytest.mark.parametrize(
    "array",
    [np.ones((4, 2)), np.ones((4, 2), np.float16), np.ones(4, int), np.ones(4, np.uint8), np.ones(4, bool)],
    ids=lambda array: str(array.dtype),
)
def test_arrays_come_in_the_dtypes_that_fit_gives_them(array: Any) -> None:
    batch = feed_of(fit_data((array, array))).take(1, 2)[0]
    expected = first_batch(FitData(array, array, batch_size=2))
    assert [part.dtype for part in batch] == [part.dtype for part in expected]
    assert [part.shape for part in batch] == [part.shape for part in expected]


def test_names_keep_their_arrays() -> None:
    x, y = feed_of(fit_data(({"b": TEN, "a": 2 * TEN}, (TEN, {"c": 3 * TEN})))).take(2, 4)[1]
    assert (x["b"][0], x["a"][0], y[0][0], y[1]["c"][0]) == (4, 8, 4, 12)


@pytest.mark.parametrize("weights", [TEN / 8, {"b": TEN / 8, "a": TEN / 4}], ids=["one", "both"])
def test_weights_of_several_outputs_are_what_fit_makes_of_them(weights: Any) -> None:
    y = {"b": TEN, "a": TEN}
    batch = feed_of(fit_data((TEN, y, weights))).take(1, 4)[0]
    expected = first_batch(FitData(TEN, y, weights, batch_size=4))
    tf.nest.assert_same_structure(batch, expected)
    for part, its in zip(tf.nest.flatten(batch), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(part, its)


def test_a_table_is_what_fit_makes_of_it() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": TEN, "b": TEN / 2})
    given = (table, table["b"])
    batch = feed_of(fit_data(given)).take(1, 4)[0]
    for part, expected in zip(batch, first_batch(FitData(*given, batch_size=4)), strict=True):
        assert part.dtype == expected.dtype
        np.testing.assert_array_equal(part, expected)


def test_rows_of_unlike_lengths_are_what_fit_makes_of_them() -> None:
    ragged = tf.ragged.constant([[1], [2, 3], [], [4]])
    taken = feed_of(fit_data((ragged, np.arange(4)))).take(3, 2)
    expected = first_batch(FitData(ragged, np.arange(4), batch_size=2))
    assert taken[0][0].to_list() == taken[2][0].to_list() == expected[0].to_list() == [[1], [2, 3]]
    assert batch_size_of(taken[1]) == 2


def test_a_small_set_goes_round_without_a_gap_and_a_pass_shows_whole_batches_only() -> None:
    taken = feed_of(fit_data(TEN)).take(4, 4)
    assert [batch.numpy().tolist() for batch in taken] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]
    assert numbers(feed_of(fit_data(TEN)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    pipeline = tf.data.Dataset.from_tensor_slices(TEN).batch(4)
    assert numbers(feed_of(fit_data(pipeline)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_seed_alone_decides_the_order_of_arrays() -> None:
    feed = feed_of(fit_data(TEN))
    one, again, other = (numbers(feed, 5, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert sorted(one[0] + one[1]) == TEN.tolist() != one[0] + one[1]


def test_the_seed_reaches_what_a_pipeline_draws() -> None:
    class Drawing(kinds.Batches):
        def __getitem__(self, number: int) -> Any:
            return np.random.random((8, 1))  # noqa: NPY002 - as people do.

    feed = feed_of(fit_data(Drawing()))
    one, again, other = (numbers(feed, 8, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def endless() -> Iterator[Any]:
    while True:
        yield np.zeros((3, 2)), np.ones(3)


@pytest.mark.parametrize(
    ("pipeline", "batch_size", "examples"),
    [
        (lambda: tf.data.Dataset.from_tensor_slices((kinds.TABLE, kinds.LABELS)).batch(8), 8, 40),
        (lambda: tf.data.Dataset.from_tensor_slices((kinds.TABLE, kinds.LABELS)).batch(8).repeat(), 8, 0),
        (kinds.Batches, 8, 40),
        (endless, 3, 0),
    ],
    ids=["tf.data", "tf.data for ever", "PyDataset", "generator"],
)
def test_a_pipelines_own_batch_size_is_its_own(pipeline: Callable[[], Any], batch_size: int, examples: int) -> None:
    feed = feed_of(fit_data(pipeline()))
    assert (feed.own_batch_size, feed.examples) == (batch_size, examples)
    assert [batch_size_of(batch) for batch in feed.take(7, batch_size)] == [batch_size] * 7


def test_an_epoch_is_what_a_generator_has_or_as_many_steps_as_are_asked_for() -> None:
    assert feed_of(FitData(endless(), steps_per_epoch=4)).examples == 12
    assert len(numbers(feed_of(fit_data(counted(3))), 2)) == 3
    feed = feed_of(FitData(counted(5), steps_per_epoch=2))
    assert [numbers(feed, 2), numbers(feed, 2)] == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]


def test_tf_data_is_rebatched_and_others_are_refused() -> None:
    dataset = tf.data.Dataset.from_tensor_slices((kinds.TABLE, kinds.LABELS, kinds.WEIGHTS)).batch(8)
    x, y, weights = feed_of(fit_data(dataset)).take(2, 10)[1]
    np.testing.assert_array_equal(x, kinds.TABLE[10:20])
    np.testing.assert_array_equal(y, kinds.LABELS[10:20])
    np.testing.assert_array_equal(weights, kinds.WEIGHTS[10:20])
    with pytest.raises(stepbench.StepbenchError, match="The pipeline makes batches of 8: leave --batch-size out"):
        feed_of(fit_data(kinds.Batches())).check_batch_size(10)


def counted(batches: int, **parts: Any) -> Iterator[Any]:
    for number in range(batches):
        yield np.full((2, 1), number, float), *parts.values()


def test_a_generator_gives_each_batch_once_and_as_fit_takes_it() -> None:
    feed = feed_of(fit_data(counted(6, y=np.ones(2, int), weights=None)))
    taken = feed.take(2, 2) + feed.take(3, 2)
    assert [int(x[0, 0]) for x, *_ in taken] == [0, 1, 2, 3, 4]
    expected = first_batch(FitData(counted(6, y=np.ones(2, int))))
    assert [part.dtype for part in taken[0] if part is not None] == [part.dtype for part in expected]


def test_data_that_ends_early_is_one_sentence() -> None:
    feed = feed_of(fit_data(counted(3)))
    feed.take(1, 2)
    with pytest.raises(stepbench.StepbenchError, match="The data ended after 3 batches: give a pipeline that can be"):
        feed.take(5, 2)
    with pytest.raises(stepbench.StepbenchError, match="The data ended after 0 batches"):
        feed_of(fit_data(counted(0)))
    with pytest.raises(stepbench.StepbenchError, match="The data ended after 0 batches"):
        feed_of(fit_data(tf.data.Dataset.range(0).batch(2)))


def test_less_than_a_batch_is_refused() -> None:
    with pytest.raises(stepbench.StepbenchError) as caught:
        feed_of(fit_data(TEN)).take(1, 11)
    assert str(caught.value) == "The training set has 10 examples: choose a batch size of at most that, not 11."


@pytest.mark.parametrize("order", [None, 3])
def test_class_weights_stay_with_their_examples(order: int | None) -> None:
    feed = feed_of(FitData(TEN, TEN % 2, class_weight={0: 0.5, 1: 2.0}))
    seen: list[Any] = []
    feed.each(5, seen.append, seed=order, passes=1)
    for _, y, weights in seen:
        assert weights.numpy().tolist() == np.where(y.numpy() == 1, 2.0, 0.5).tolist()


@pytest.mark.parametrize("data", [TEN[:, None], tf.data.Dataset.from_tensor_slices(TEN[:, None]).batch(2)], ids=type)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_input_is_timed_over_whole_calls(data: Any, steps: int) -> None:
    shapes: list[Any] = []
    feed = feed_of(fit_data(data))
    seconds, waited = feed.time_input(2, steps, lambda batch: shapes.append(batch.shape), calls=4)
    assert shapes == [(2, 1) if steps == 1 else (3, 2, 1)] * 5
    assert 0 < waited <= seconds


def test_batches_of_any_structure_are_stacked() -> None:
    batches = [({"a": tf.fill([2], number)}, tf.fill([2, 1], number)) for number in range(3)]
    x, y = stacked(batches)
    assert (x["a"].shape, y.shape, y[2, 0, 0]) == ((3, 2), (3, 2, 1), 2)
    assert stacked(batches[:1]) is batches[0]


def test_a_pydataset_shuffles_as_fit_shuffles_it() -> None:
    feed = feed_of(fit_data(kinds.Batches()))
    order: list[int] = []

    def visit(batch: Any) -> None:
        order.append(int(np.flatnonzero((batch[0]["table"].numpy()[0] == kinds.TABLE).all(axis=1))[0]) // 8)

    keras.utils.set_random_seed(0)
    feed.each(8, visit, seed=1, passes=1)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order != sorted(order)
