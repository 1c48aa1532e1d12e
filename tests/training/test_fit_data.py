"""What users hand to ``fit``, and how it is told apart."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from workloads import kinds

import stepbench
from stepbench.records.cases import Device
from stepbench.training.devices import use_device
from stepbench.training.fit_data import Enough, FitData, drive, fit_data, training_and_test

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

TEN = np.arange(10)


def test_a_tuple_holds_inputs_targets_and_weights_and_strings_become_tensors() -> None:
    data = fit_data((TEN, {"a": TEN}, TEN / 10))
    assert data.is_arrays
    assert (data.x is TEN, list(data.y), data.sample_weight[1]) == (True, ["a"], 0.1)
    assert fit_data(TEN).y is None
    assert fit_data({"a": TEN, "b": (TEN,)}).is_arrays
    assert fit_data(np.array(["a", "b"])).x.dtype == tf.string
    assert fit_data(np.array(["a", "b"], dtype=object)).x.dtype == tf.string


@pytest.mark.parametrize(
    "pipeline",
    [kinds.py_dataset.data(stepbench.DataSource("synthetic"))[0], tf.data.Dataset.range(3).batch(2), iter([])],
    ids=["PyDataset", "tf.data", "generator"],
)
def test_a_pipeline_is_no_array(pipeline: Any) -> None:
    assert not fit_data(pipeline).is_arrays


@pytest.mark.parametrize("given", [(TEN, TEN[:9]), ({"a": TEN, "b": TEN[:9]},), (TEN, TEN, TEN[:1])])
def test_arrays_of_unlike_lengths_are_refused(given: Any) -> None:
    with pytest.raises(stepbench.StepbenchError, match=r"give as many of each, at least one\."):
        fit_data(given)


def test_training_and_test_data_come_as_a_dataset_or_a_pair() -> None:
    training, test = training_and_test(stepbench.Dataset(TEN, TEN, TEN[:2], TEN[:2], TEN))
    assert test
    assert (training.sample_weight is TEN, len(test.x)) == (True, 2)
    _, nothing = training_and_test((TEN, None))
    assert nothing is None
    for wrong in (TEN, (TEN, TEN, TEN), None):
        with pytest.raises(stepbench.StepbenchError, match=r"it must give a stepbench\.Dataset or a pair"):
            training_and_test(wrong)


def test_arrays_are_limited_and_split_together() -> None:
    data = FitData({"a": TEN}, TEN, TEN)
    first, rest = data.split(7)
    assert (first.x["a"].tolist(), rest.y.tolist(), len(rest.sample_weight)) == (list(range(7)), [7, 8, 9], 3)
    assert len(data.limited(3).y) == 3
    pipeline = FitData(tf.data.Dataset.range(3))
    assert pipeline.limited(1) is pipeline


def test_fit_itself_makes_the_batches_until_enough_is_seen() -> None:
    seen = []

    def train(batches: Any) -> None:
        seen.append(next(batches).numpy().tolist())
        if len(seen) == 4:
            raise Enough

    drive(FitData(TEN, batch_size=4), train)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]


def test_what_a_pipeline_raises_reaches_the_user() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("planted in the pipeline")

    pipeline = tf.data.Dataset.range(3).map(lambda number: tf.py_function(broken, [number], tf.float32))
    with pytest.raises(Exception, match="planted in the pipeline"):
        drive(fit_data(pipeline.batch(2)), next)


def test_nothing_that_a_carrier_does_changes_what_is_built_after() -> None:
    """Names of layers, as optimizers look at them, and random numbers are those that they would have been."""
    keras.utils.set_random_seed(1)
    keras.utils.clear_session()
    drive(FitData(TEN, batch_size=5), next, passes=1)
    assert keras.layers.Dense(1).name == "dense"
