from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from built import Ready, assert_close, ready
from workloads import kinds

import stepbench
from stepbench.records.cases import BUILT_IN_EXECUTIONS, DEFAULT_EXECUTIONS, Device, Precision
from stepbench.training import executions
from stepbench.training.devices import use_device
from stepbench.training.executions import execution_named, parts_of
from stepbench.training.feed import stacked
from stepbench.training.state import TrainState
from stepbench.training.step import loss_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

Step = Callable[..., Any]

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

NINE = [(execution, precision) for execution in DEFAULT_EXECUTIONS for precision in Precision]


def small_model() -> keras.Model:
    logits = keras.layers.Activation("linear", dtype="float32")
    return keras.Sequential([keras.Input((kinds.FEATURES,)), keras.layers.Dense(kinds.CLASSES), logits])


SMALL = stepbench.Workload("small", small_model, lambda _: ((kinds.TABLE, kinds.LABELS), None))


def prepared(execution: str, precision: str = "float32", *, workload: Any = SMALL, steps_per_call: int = 1) -> Ready:
    return ready(workload, execution, precision, steps_per_call=steps_per_call, batch_size=kinds.BATCH)


def train(ours: Ready, steps: int) -> list[float]:
    """The losses of each call."""
    per_call = ours.case.steps_per_call
    batches = ours.batches(steps)
    calls = [stacked(batches[start : start + per_call]) for start in range(0, steps, per_call)]
    return [float(loss_of(ours.call(call))) for call in calls]


@pytest.fixture
def traced_shapes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The shape of the batch, each time that Python runs the step: once a trace, or once an eager step."""
    shapes: list[Any] = []
    original = keras.Model.train_step

    def traced(model: keras.Model, batch: Any) -> Any:
        shapes.append(tuple(batch[0].shape))
        return original(model, batch)

    traced.__qualname__ = original.__qualname__  # It is no step of the user's own.
    monkeypatch.setattr(keras.Model, "train_step", traced)
    return shapes


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test registers."""
    monkeypatch.setattr(executions, "_registered", {})


def never_built(_: TrainState) -> Step:
    raise AssertionError("Registering builds nothing.")


@pytest.mark.parametrize(("execution", "precision"), NINE)
def test_step_moves_every_weight_by_a_finite_loss_and_is_traced_once(
    execution: str, precision: str, traced_shapes: list[Any]
) -> None:
    ours = prepared(execution, precision)
    traced_shapes.clear()
    before = [weight.numpy() for weight in ours.state.model.trainable_variables]
    assert np.isfinite(train(ours, 4)).all()
    for weight, old in zip(ours.state.model.trainable_variables, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert not np.array_equal(weight.numpy(), old), weight.path
    assert traced_shapes == [(kinds.BATCH, kinds.FEATURES)] * (4 if execution == "eager" else 1)


@pytest.mark.parametrize("execution", ["graph", "xla"])
def test_several_steps_in_one_call_are_the_same_steps_traced_once(execution: str, traced_shapes: list[Any]) -> None:
    one_by_one, ours = prepared("graph"), prepared(execution, steps_per_call=2)
    traced_shapes.clear()
    losses, expected = train(ours, 4), train(one_by_one, 4)
    assert len(traced_shapes) == 2, "once for each of the two cases"
    assert losses == pytest.approx(expected[1::2], rel=1e-6)
    assert_close(ours, one_by_one, atol=1e-6)
    assert int(ours.state.optimizer.iterations) == 4


@pytest.mark.parametrize("workload", [kinds.two_outputs, kinds.sam, kinds.gan], ids=lambda workload: workload.name)
def test_several_steps_in_one_call_are_the_same_steps_of_any_model(workload: stepbench.Workload) -> None:
    one_by_one, ours = (prepared("graph", workload=workload, steps_per_call=steps) for steps in (1, 2))
    assert train(ours, 4) == pytest.approx(train(one_by_one, 4)[1::2], rel=1e-5)
    assert_close(ours, one_by_one, atol=1e-6)


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_xla_alone_is_compiled_by_xla(steps_per_call: int) -> None:
    graph, xla = (prepared(execution, steps_per_call=steps_per_call) for execution in ("graph", "xla"))
    batch = stacked(graph.batches(steps_per_call))
    assert "HloModule" in xla.call.experimental_get_compiler_ir(batch)()  # type: ignore[attr-defined] # It is a tf.function.
    with pytest.raises(ValueError, match="jit_compile=True"):
        graph.call.experimental_get_compiler_ir(batch)  # type: ignore[attr-defined] # It is a tf.function.


def test_keras_trains_as_the_graph_does_with_dropout_and_batch_statistics() -> None:
    for workload in (kinds.functional, kinds.batch_normalised):
        theirs, ours = (prepared(execution, workload=workload) for execution in ("graph", "keras"))
        assert train(ours, 4) == pytest.approx(train(theirs, 4), rel=1e-5)
        assert_close(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("execution", "steps_per_call"), [("eager", 1), ("graph", 1), ("graph", 2), ("xla", 1), ("xla", 2)]
)
def test_variant_adds_nothing_to_the_step(execution: str, steps_per_call: int) -> None:
    """A step that only reads a number gives that number and changes nothing, whatever is wrapped around it."""
    kept = tf.Variable(3.0)

    def reading(batch: Any) -> Any:
        return tf.reduce_sum(batch) + kept

    training = stepbench.Training("reading", lambda _: stepbench.Built(reading, kinds.TABLE, [kept]))
    ours = prepared(execution, workload=training, steps_per_call=steps_per_call)
    batches = ours.batches(steps_per_call)
    assert float(ours.call(stacked(batches))) == pytest.approx(float(reading(batches[-1])), rel=1e-5)
    assert float(kept) == 3.0


@pytest.mark.parametrize(
    ("batch", "parts"),
    [
        (1, (1,)),
        ((1,), (1,)),
        ((1, 2), (1, 2)),
        ((1, 2, 3), (1, 2, 3)),
        ((1, None, 3), (1, None, 3)),
        ((1, 2, None), (1, 2)),
    ],
)
def test_a_batch_is_handed_to_a_step_in_its_parts(batch: Any, parts: tuple[Any, ...]) -> None:
    assert parts_of(batch) == parts


def test_built_in_executions_claim_what_they_are() -> None:
    claims = {name: execution_named(name).claims for name in BUILT_IN_EXECUTIONS}
    assert claims == {"eager": "eager", "graph": "graph", "xla": "xla", "keras": "graph"}


@pytest.mark.usefixtures("registry")
def test_user_variant_is_found_by_its_name_and_trains() -> None:
    @stepbench.variant("backwards", claims="eager")
    def backwards(state: TrainState) -> Step:
        return lambda x, y: loss_of(state.step((x[::-1], y[::-1])))

    assert execution_named("backwards").claims == "eager"
    ours, expected = prepared("backwards"), prepared("eager")
    x, y = ours.batches(1)[0]
    assert float(ours.call((x, y))) == float(expected.call((x[::-1], y[::-1]))["loss"])
    assert_close(ours, expected, atol=0, rtol=0)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("claims", ["graph", "xla", None])
def test_user_variant_makes_several_steps_a_call(claims: str | None) -> None:
    @stepbench.variant("mine", claims=claims)
    def mine(state: TrainState) -> Step:
        def descend(x: Any, y: Any) -> Any:
            weights = state.model.trainable_variables
            with tf.GradientTape() as tape:
                loss = state.loss(y, state.model(x, training=True))
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(0.1 * gradient)
            return loss

        return tf.function(descend, autograph=False, jit_compile=claims == "xla") if claims else descend

    one_by_one, ours = prepared("mine"), prepared("mine", steps_per_call=2)
    assert train(ours, 4) == pytest.approx(train(one_by_one, 4)[1::2], rel=1e-5)
    assert_close(ours, one_by_one, atol=1e-6)


@pytest.mark.usefixtures("registry")
def test_user_variant_is_given_sample_weights_where_the_data_has_them() -> None:
    @stepbench.variant("weighing")
    def weighing(state: TrainState) -> Step:
        def step(x: Any, y: Any, sample_weight: Any) -> Any:
            return tf.reduce_sum(sample_weight) + 0 * state.loss(y, state.model(x))

        return step

    ours = prepared("weighing", workload=kinds.sample_weights)
    assert train(ours, 1) == pytest.approx([kinds.WEIGHTS[: kinds.BATCH].sum()])
    with pytest.raises(TypeError, match="sample_weight"):
        train(prepared("weighing"), 1)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", [*BUILT_IN_EXECUTIONS, "mine"])
def test_name_that_is_taken_is_refused(name: str) -> None:
    stepbench.variant("mine")(never_built)
    with pytest.raises(stepbench.StepbenchError, match=f"a variant '{name}' already: register yours under another"):
        stepbench.variant(name)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("claims", ["fast", "", "keras", "XLA"])
def test_unknown_claim_is_refused(claims: str) -> None:
    with pytest.raises(stepbench.StepbenchError, match=f"cannot claim '{claims}': use eager, graph or xla"):
        stepbench.variant("mine", claims=claims)


@pytest.mark.usefixtures("registry")
def test_unknown_execution_is_refused_with_the_known_ones() -> None:
    stepbench.variant("mine")(never_built)
    with pytest.raises(stepbench.StepbenchError) as caught:
        execution_named("yours")
    assert str(caught.value) == (
        "There is no execution 'yours': use one of eager, graph, xla, keras, mine, or name its file with --plugin."
    )
