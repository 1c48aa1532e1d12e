"""Whatever ``keras.Model.fit`` trains, the executions train: the same weights, batch by batch, and the same losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from workloads import kinds

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.devices import use_device
from stepbench.training.executions import build_call
from stepbench.training.locate import Locatable
from stepbench.training.script import Script
from stepbench.training.step import loss_of
from stepbench.training.task import open_task

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

SEED, BATCHES = 5, 5
SOURCE = stepbench.DataSource("synthetic")
COMPILED_BY_XLA = (
    *(kinds.functional, kinds.dict_inputs, kinds.two_outputs, kinds.sample_weights, kinds.sam, kinds.compute_loss),
    *(kinds.added_loss, kinds.batch_normalised, kinds.embedding, kinds.no_metric, kinds.vector_metric, kinds.lion),
)
"""Those that compile in little time; not strings, which XLA cannot."""

Trained = tuple[list[float], list[list[NDArray[Any]]]]
"""Of each batch the loss, and all weights after it."""


def named(workload: stepbench.Workload) -> str:
    return workload.name


def arguments_of(workload: stepbench.Workload) -> dict[str, Any]:
    """What a user hands to ``fit``."""
    training, _ = workload.data(SOURCE)
    if isinstance(training, tf.data.Dataset | keras.utils.PyDataset):
        return {"x": training}
    parts = training if isinstance(training, tuple) else (training,)
    return {**dict(zip(("x", "y", "sample_weight"), parts, strict=False)), "batch_size": kinds.BATCH}


def trained_by_fit(workload: stepbench.Workload, execution: str, policy: str, **more: Any) -> Trained:
    """As a script would do it: nothing here is stepbench's."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(policy)
    model = workload.model()
    keras.config.set_dtype_policy("float32")
    model.run_eagerly = execution == "eager"
    model.jit_compile = execution == "xla"
    losses: list[float] = []
    weights: list[list[NDArray[Any]]] = []

    class Watch(keras.callbacks.Callback):  # type: ignore[misc] # Keras is untyped.
        def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
            model.reset_metrics()

        def on_train_batch_end(self, _: int, logs: Any = None) -> None:
            losses.append(float(logs["loss"]))
            weights.append([weight.numpy() for weight in model.weights])

    model.fit(**arguments_of(workload), **more, shuffle=False, verbose=0, callbacks=[Watch()])
    return losses, weights


def trained_by_us(workload: Locatable, execution: str, policy: str) -> Trained:
    task = open_task(workload, SOURCE)
    state = task.build(policy, SEED, kinds.BATCH)
    call = build_call(state, Case("kind", Variant(execution, Precision(policy)), Device.CPU, kinds.BATCH))
    losses, weights = [], []
    for batch in task.feed.take(BATCHES, kinds.BATCH):
        state.reset_metrics()
        losses.append(float(loss_of(call(batch))))
        weights.append([weight.numpy() for weight in state.model.weights])
    return losses, weights


def assert_same(ours: Trained, theirs: Trained) -> None:
    (our_losses, our_weights), (their_losses, their_weights) = ours, theirs
    assert len(their_losses) == BATCHES
    assert len(set(their_losses)) > 1, "it trains"
    for batch, (mine, its) in enumerate(zip(our_weights, their_weights, strict=True)):
        for number, (weight, expected) in enumerate(zip(mine, its, strict=True)):
            np.testing.assert_array_equal(weight, expected, err_msg=f"weight {number} after batch {batch}")
    assert our_losses == their_losses


SOME = [pytest.param(one, marks=() if number % 5 == 0 else pytest.mark.slow) for number, one in enumerate(kinds.ALL)]


@pytest.mark.parametrize("execution", [pytest.param("eager", marks=pytest.mark.slow), "graph"])
@pytest.mark.parametrize("workload", SOME, ids=named)
def test_every_batch_changes_the_weights_as_fit_does(workload: stepbench.Workload, execution: str) -> None:
    assert_same(trained_by_us(workload, execution, "float32"), trained_by_fit(workload, execution, "float32"))


# To the last bit too: the step that XLA is given is the same, so it fuses it in the same way.
@pytest.mark.slow
@pytest.mark.parametrize("workload", COMPILED_BY_XLA, ids=named)
def test_every_batch_changes_the_weights_as_fit_with_xla_does(workload: stepbench.Workload) -> None:
    assert_same(trained_by_us(workload, "xla", "float32"), trained_by_fit(workload, "xla", "float32"))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_what_fit_makes_of_it(policy: str) -> None:
    workload = kinds.vector_metric
    assert_same(trained_by_us(workload, "graph", policy), trained_by_fit(workload, "graph", policy))


CLASS_WEIGHTS = {0: 0.2, 1: 1.0, 2: 3.0}


@pytest.mark.parametrize("execution", ["eager", "graph", "xla"])
def test_class_weights_of_a_script_weigh_as_in_fit(execution: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "from workloads import kinds\n"
        "model = kinds.subclassed.model()\n"
        f"model.fit(kinds.TABLE, kinds.LABELS, batch_size={kinds.BATCH}, class_weight={CLASS_WEIGHTS})\n"
    )
    ours = trained_by_us(Script(script), execution, "float32")
    assert_same(ours, trained_by_fit(kinds.subclassed, execution, "float32", class_weight=CLASS_WEIGHTS))
