"""Planted bugs do what they say, in whatever step they are planted; the one that plants nothing changes nothing."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from built import Ready, ready, same
from marks import few
from workloads import gan, kinds

import stepbench
import stepbench.training.planted  # It registers the bugs.
from stepbench.records.cases import BEGINS_AFTER, BUGS, INNOCENT, Device
from stepbench.training.devices import use_device
from stepbench.training.locate import Locatable

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

NOT_APPLICABLE = {
    "functional": {},
    "embedding": {"planted-inference-mode": "This model does the same in training and inference."},
    "sam": {
        "planted-epsilon": "No optimizer here has the setting epsilon.",
        "planted-beta-2": "No optimizer here has the setting beta_2.",
        "planted-inference-mode": "This model does the same in training and inference.",
    },
    "gan": {
        "planted-labels": "This workload has no targets.",
        "planted-inference-mode": "This model does the same in training and inference.",
        "planted-summed-loss": "This step does not call compute_loss().",
        "planted-late-loss": "This step does not call compute_loss().",
    },
}
"""Why a bug cannot be planted, by the models that lack what it takes; there is no other reason."""
MODELS = {one.name: one for one in (kinds.functional, kinds.embedding, kinds.sam, kinds.gan)}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes late or rarely comes within three steps."""
    for name in BEGINS_AFTER:
        monkeypatch.setitem(BEGINS_AFTER, name, 2)


def trained(workload: Locatable, execution: str) -> Ready:
    ours = ready(workload, execution, batch_size=kinds.BATCH)
    for batch in ours.batches(3):
        ours.call(batch)
    return ours


@functools.cache
def honest(name: str) -> Ready:
    return trained(MODELS[name], "graph")


@pytest.mark.parametrize("name", few("functional", of=MODELS))
def test_planting_nothing_changes_nothing(name: str) -> None:
    assert same(trained(MODELS[name], INNOCENT), honest(name))


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", few("functional", of=MODELS))
def test_a_bug_changes_the_weights_or_says_why_it_cannot(name: str, bug: str) -> None:
    reason = NOT_APPLICABLE[name].get(bug)
    if reason is not None:
        with pytest.raises(stepbench.StepbenchError) as caught:
            trained(MODELS[name], bug)
        assert str(caught.value) == reason
        return
    ours, theirs = trained(MODELS[name], bug).state.weights, honest(name).state.weights
    pairs = zip(ours, theirs, strict=True)
    assert any(not np.array_equal(mine.numpy(), its.numpy()) for mine, its in pairs)


def test_a_share_of_the_labels_is_a_neighbours_for_each_output() -> None:
    expected, ours = (trained(kinds.two_outputs, execution) for execution in ("graph", "planted-labels"))
    for mine, its in zip(ours.state.model.layers[-1].weights, expected.state.model.layers[-1].weights, strict=True):
        assert not np.array_equal(mine.numpy(), its.numpy())


@pytest.mark.slow
def test_bugs_of_optimizers_are_planted_without_a_keras_model_too() -> None:
    expected = trained(gan.training, "graph")
    assert same(trained(gan.training, INNOCENT), expected)
    for bug in ("planted-learning-rate", "planted-stale-gradient", "planted-beta-2"):
        assert not same(trained(gan.training, bug), expected)


def test_the_learning_rate_is_two_percent_too_high() -> None:
    def plain() -> keras.Model:
        model = kinds.subclassed.model()
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    workload = stepbench.Workload("plain", plain, kinds.subclassed.data)
    moved = []
    for execution in ("graph", "planted-learning-rate"):
        ours = ready(workload, execution, batch_size=kinds.BATCH)
        before = [weight.numpy() for weight in ours.state.weights]
        ours.call(ours.batches(1)[0])
        moved.append([weight.numpy() - old for weight, old in zip(ours.state.weights, before, strict=True)])
    for honest, steep in zip(*moved, strict=True):
        np.testing.assert_allclose(steep, 1.02 * honest, rtol=1e-3, atol=1e-7)
