"""Workloads with their data; trainings that have no Keras model."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from built import SYNTHETIC, ready, same
from marks import few
from workloads import gan, kinds

import stepbench
from stepbench.records.cases import Device
from stepbench.training.devices import use_device
from stepbench.training.feed import stacked
from stepbench.training.step import figures_of, loss_of
from stepbench.training.task import open_task

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.


def test_a_limit_takes_the_first_of_a_dataset_and_the_whole_test_set() -> None:
    dataset = stepbench.Dataset(kinds.TABLE, kinds.LABELS, kinds.TABLE[:7], kinds.LABELS[:7])
    workload = dataclasses.replace(kinds.functional, data=lambda _: dataset)
    task = open_task(workload, stepbench.DataSource("synthetic", limit=16))
    assert task.feed.examples == 16
    assert task.test is not None
    assert len(task.test.x) == 7


def test_the_usual_batch_size_is_64_or_the_pipelines_own() -> None:
    assert open_task(kinds.functional, SYNTHETIC).usual_batch_size == 64
    assert open_task(kinds.pipeline, SYNTHETIC).usual_batch_size == kinds.BATCH


def test_what_replaces_parts_of_a_compiled_model_is_said_once() -> None:
    task = open_task(dataclasses.replace(kinds.functional, optimizer="sgd", metric="mse"), SYNTHETIC)
    for _ in range(2):
        task.build("float32", 0, kinds.BATCH)
    assert task.remarks == ("functional: its own optimizer and metric in place of what the model is compiled with",)


def test_a_model_made_for_another_batch_size_is_refused_early() -> None:
    task = open_task(kinds.stateful, SYNTHETIC)
    task.look((kinds.BATCH,))
    for refuses in (lambda size: task.look((size,)), lambda size: task.build("float32", 0, size)):
        with pytest.raises(stepbench.StepbenchError) as caught:
            refuses(10)
        assert str(caught.value) == "The model is made for batches of 8: use --batch-size 8, not 10."


def test_what_shuffles_without_a_seed_is_alike_in_every_process() -> None:
    def data(_: stepbench.DataSource) -> Any:
        order = np.random.permutation(40)  # noqa: NPY002 - as people do.
        shuffled = tf.data.Dataset.from_tensor_slices((kinds.TABLE[order], kinds.LABELS[order])).shuffle(40).batch(8)
        return shuffled, None

    workload = dataclasses.replace(kinds.functional, data=data)
    one, two = (open_task(workload, SYNTHETIC).feed.take(3, 8) for _ in range(2))
    for mine, its in zip(tf.nest.flatten(one), tf.nest.flatten(two), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    ("execution", "steps_per_call"),
    few(("graph", 2), of=[("eager", 1), ("graph", 1), ("graph", 2), ("xla", 1), ("xla", 2)]),
)
def test_a_training_without_a_keras_model_trains_as_its_own_loop_does(execution: str, steps_per_call: int) -> None:
    ours = ready(gan.training, execution, steps_per_call=steps_per_call)
    theirs = ready(gan.training, "eager")
    batches = theirs.batches(4)
    expected = [figures_of(theirs.state.step(batch)) for batch in batches]
    assert set(expected[0]) == {"critic", "generator"}
    calls = [batches[start : start + steps_per_call] for start in range(0, 4, steps_per_call)]
    losses = [float(loss_of(ours.call(stacked(call)))) for call in calls]
    assert losses == pytest.approx([one["critic"] for one in expected[steps_per_call - 1 :: steps_per_call]], rel=1e-4)
    for mine, its in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


def test_a_training_knows_its_optimizers_and_all_of_its_variables() -> None:
    ours = ready(gan.training)
    assert [type(optimizer).__name__ for optimizer in ours.state.optimizers] == ["Adam", "RMSprop"]
    before = ours.values()
    ours.call(ours.batches(1)[0])
    assert sum(not np.array_equal(new, old) for new, old in zip(ours.values(), before, strict=True)) >= 6
    assert ours.state.evaluate
    assert set(ours.state.evaluate()) == {"spread"}
    with pytest.raises(stepbench.StepbenchError, match="This training has no Keras model, which is needed here"):
        _ = ours.state.model


def test_a_training_is_the_same_from_the_same_seed() -> None:
    assert same(ready(gan.training, seed=3), ready(gan.training, seed=3))
    assert not same(ready(gan.training, seed=3), ready(gan.training, seed=4))


def test_a_training_that_builds_something_else_is_refused() -> None:
    with pytest.raises(
        stepbench.StepbenchError, match=r"build\(\) of wrong gave a list: it must give a stepbench\.Built"
    ):
        open_task(stepbench.Training("wrong", lambda _: []), SYNTHETIC).look(None)  # type: ignore[arg-type, return-value]


def test_a_step_written_for_tf_function_keeps_its_python_control_flow() -> None:
    total = keras.Variable(0.0)

    def step(batch: Any) -> Any:
        if tf.reduce_sum(batch) > 0:  # Autograph makes a branch of it.
            total.assign_add(1.0)
        else:
            total.assign_sub(1.0)
        return total + 0.0

    training = stepbench.Training("branching", lambda _: stepbench.Built(step, np.ones((4, 1), np.float32), [total]))
    assert float(ready(training, "graph", batch_size=2).call(tf.ones((2, 1)))) == 1.0
