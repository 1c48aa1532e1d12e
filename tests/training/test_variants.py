from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import places
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import stepbench
from stepbench.records.cases import BUILT_IN_EXECUTIONS, DEFAULT_EXECUTIONS, Case, Device, Precision, Variant
from stepbench.training import step as step_module
from stepbench.training import variants
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.step import TrainState, build_state, train_step
from stepbench.training.variants import build_call, execution_named
from stepbench.training.workload import Dataset, Workload, load_workload

pytestmark = pytest.mark.tensorflow

if TYPE_CHECKING:
    from stepbench.training.variants import Step

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

BATCH = 16
CNN = load_workload("cifar-cnn")
TABULAR = load_workload(f"{places.EXAMPLES}/tabular.py:workload")
SOURCE = resolve_source("synthetic", limit=6 * BATCH)
IMAGES = CNN.data(SOURCE)
ROWS = TABULAR.data(SOURCE)


def small_model() -> keras.Model:
    return keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(4), keras.layers.Activation("linear", dtype="float32")]
    )


SMALL = Workload("small", small_model, TABULAR.data)
NINE = [Variant(execution, precision) for execution in DEFAULT_EXECUTIONS for precision in Precision]


def prepared(workload: Workload, variant: Variant, steps_per_call: int = 1) -> tuple[TrainState, Step]:
    state = build_state(workload, variant.precision, seed=0)
    return state, build_call(state, Case(workload.name, variant, Device.CPU, BATCH, steps_per_call))


def float32(execution: str) -> Variant:
    return Variant(execution, Precision.FLOAT32)


def batches(data: Dataset, steps_per_call: int = 1) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Six batches, in as many calls as they make."""
    leading = (-1, steps_per_call, BATCH) if steps_per_call > 1 else (-1, BATCH)
    x = data.x_train.reshape(*leading, *data.x_train.shape[1:])
    y = data.y_train.reshape(*leading)
    return [(tf.constant(some_x), tf.constant(some_y)) for some_x, some_y in zip(x, y, strict=True)]


def train(
    workload: Workload, data: Dataset, execution: str, steps_per_call: int = 1
) -> tuple[list[float], list[NDArray[np.float32]], TrainState]:
    """The losses and what a training changes for good: weights, statistics, seeds and optimizer slots."""
    state, call = prepared(workload, float32(execution), steps_per_call)
    losses = [float(call(x, y)) for x, y in batches(data, steps_per_call)]
    learned = [*state.model.layers, state.optimizer]
    return losses, [variable.numpy() for part in learned for variable in part.variables], state


@pytest.fixture(scope="module")
def eager_cnn() -> tuple[list[float], list[NDArray[np.float32]], TrainState]:
    return train(CNN, IMAGES, "eager")


@pytest.fixture
def trace_shapes(monkeypatch: pytest.MonkeyPatch) -> list[tf.TensorShape]:
    """The shape of the batch, each time that Python runs the step: once a trace, or once an eager step."""
    shapes = []

    def traced(state: TrainState, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        shapes.append(x.shape)
        return train_step(state, x, y)

    monkeypatch.setattr(step_module, "train_step", traced)
    return shapes


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test registers."""
    monkeypatch.setattr(variants, "_registered", {})


def never_built(_: TrainState) -> Step:
    raise AssertionError("Registering builds nothing.")


def assert_close(ours: Sequence[NDArray[np.float32]], theirs: Sequence[NDArray[np.float32]], atol: float) -> None:
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("variant", NINE, ids=str)
def test_step_moves_every_weight_tensor_by_a_finite_loss_and_is_traced_once(
    variant: Variant, trace_shapes: list[tf.TensorShape]
) -> None:
    state, call = prepared(SMALL, variant)
    before = [weight.numpy() for weight in state.model.trainable_variables]
    losses = [call(x, y) for x, y in batches(ROWS)]
    assert {loss.shape.rank for loss in losses} == {0}
    assert np.isfinite([float(loss) for loss in losses]).all()
    assert float(state.metrics.loss.result()) == pytest.approx(np.mean(losses), rel=1e-5)
    for weight, old in zip(state.model.trainable_variables, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert not np.array_equal(weight.numpy(), old), weight.path
    if variant.execution == "eager":
        assert len(trace_shapes) == 6
    else:
        assert trace_shapes == [(BATCH, 20)]
        assert call.experimental_get_tracing_count() == 1  # type: ignore[attr-defined] # It is a tf.function.


@pytest.mark.parametrize("variant", [v for v in NINE if v.execution != "eager"], ids=str)
def test_several_steps_in_one_call_are_traced_once(variant: Variant, trace_shapes: list[tf.TensorShape]) -> None:
    state, call = prepared(SMALL, variant, steps_per_call=3)
    for x, y in [*batches(ROWS, steps_per_call=3)] * 2:
        assert np.isfinite(float(call(x, y)))
    assert trace_shapes == [(BATCH, 20)]
    assert call.experimental_get_tracing_count() == 1  # type: ignore[attr-defined] # It is a tf.function.
    assert int(state.optimizer.iterations) == 12


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_xla_alone_is_compiled_by_xla(steps_per_call: int) -> None:
    batch = batches(ROWS, steps_per_call)[0]
    _, graph = prepared(SMALL, float32("graph"), steps_per_call)
    _, xla = prepared(SMALL, float32("xla"), steps_per_call)
    assert "HloModule" in xla.experimental_get_compiler_ir(*batch)()  # type: ignore[attr-defined] # It is a tf.function.
    with pytest.raises(ValueError, match="jit_compile=True"):
        graph.experimental_get_compiler_ir(*batch)  # type: ignore[attr-defined] # It is a tf.function.


@pytest.mark.parametrize("steps_per_call", [2, 3])
def test_steps_in_one_call_are_the_same_steps(steps_per_call: int) -> None:
    losses, learned, state = train(TABULAR, ROWS, "graph")
    losses_of_calls, learned_in_calls, state_of_calls = train(TABULAR, ROWS, "graph", steps_per_call)
    assert losses_of_calls == pytest.approx(losses[steps_per_call - 1 :: steps_per_call], rel=1e-6)
    assert_close(learned_in_calls, learned, atol=1e-6)
    assert int(state_of_calls.optimizer.iterations) == 6
    assert float(state_of_calls.metrics.loss.result()) == pytest.approx(float(state.metrics.loss.result()), rel=1e-6)


@pytest.mark.parametrize("execution", ["graph", "xla", "keras"])
def test_executions_train_the_same_network(
    execution: str, eager_cnn: tuple[list[float], list[NDArray[np.float32]], TrainState]
) -> None:
    expected_losses, expected, eager_state = eager_cnn
    losses, learned, state = train(CNN, IMAGES, execution)
    if execution == "keras":  # It gives the running mean.
        expected_losses = list(np.cumsum(expected_losses) / np.arange(1, 7))
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    # Six steps of Adam move a weight by up to 0.006.
    assert_close(learned, expected, atol=1e-5)
    # The metrics too are the state's own, whoever updates them.
    assert float(state.metrics.loss.result()) == pytest.approx(float(eager_state.metrics.loss.result()), rel=1e-5)
    assert float(state.metrics.accuracy.result()) == float(eager_state.metrics.accuracy.result())


def test_keras_trains_as_the_graph_does_with_dropout_and_batch_statistics() -> None:
    _, expected, _ = train(TABULAR, ROWS, "graph")
    _, learned, _ = train(TABULAR, ROWS, "keras")
    assert_close(learned, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("execution", "steps_per_call"), [("eager", 1), ("graph", 1), ("graph", 2), ("xla", 1), ("xla", 2)]
)
def test_variant_adds_nothing_to_the_step(execution: str, steps_per_call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that only reads a number gives that number and changes nothing, whatever is wrapped around it."""

    def reading(state: TrainState, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x) + tf.cast(y[0], tf.float32) + state.optimizer.learning_rate

    monkeypatch.setattr(step_module, "train_step", reading)
    state, call = prepared(TABULAR, float32(execution), steps_per_call)
    before = [variable.numpy() for variable in state.variables]
    x, y = batches(ROWS, steps_per_call)[0]
    last_x, last_y = (x[-1], y[-1]) if steps_per_call > 1 else (x, y)
    assert float(call(x, y)) == pytest.approx(float(reading(state, last_x, last_y)), rel=1e-5)
    for variable, value in zip(state.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_built_in_executions_claim_what_they_are() -> None:
    claims = {name: execution_named(name).claims for name in BUILT_IN_EXECUTIONS}
    assert claims == {"eager": "eager", "graph": "graph", "xla": "xla", "keras": "graph"}


@pytest.mark.usefixtures("registry")
def test_user_variant_is_found_by_its_name_and_trains() -> None:
    @stepbench.variant("backwards", claims="eager")
    def backwards(state: TrainState) -> Step:
        return lambda x, y: train_step(state, x[::-1], y[::-1])

    assert execution_named("backwards").factory is backwards
    assert execution_named("backwards").claims == "eager"
    state, call = prepared(CNN, float32("backwards"))
    x, y = batches(IMAGES)[0]
    expected = build_state(CNN, Precision.FLOAT32, seed=0)
    assert float(call(x, y)) == float(train_step(expected, x[::-1], y[::-1]))
    np.testing.assert_array_equal(state.variables[0].numpy(), expected.variables[0].numpy())


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("claims", ["graph", "xla", None])
def test_user_variant_makes_several_steps_a_call(claims: str | None) -> None:
    @stepbench.variant("mine", claims=claims)
    def mine(state: TrainState) -> Step:
        def descend(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            weights = state.model.trainable_variables
            with tf.GradientTape() as tape:
                loss = state.loss(y, state.model(x, training=True))
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(0.1 * gradient)
            return loss

        step: Step = tf.function(descend, autograph=False, jit_compile=claims == "xla") if claims else descend
        return step

    losses, learned, _ = train(SMALL, ROWS, "mine")
    losses_of_calls, learned_in_calls, _ = train(SMALL, ROWS, "mine", steps_per_call=3)
    assert losses_of_calls == pytest.approx(losses[2::3], rel=1e-5)
    assert_close(learned_in_calls, learned, atol=1e-6)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", [*BUILT_IN_EXECUTIONS, "mine"])
def test_name_that_is_taken_is_refused(name: str) -> None:
    stepbench.variant("mine")(never_built)
    with pytest.raises(stepbench.StepbenchError, match=f"a variant '{name}' already: register yours under another"):
        stepbench.variant(name)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", ["", "a/b", "a,b", "a\nb", "x" * 1001])
def test_name_that_cannot_stand_in_a_case_id_is_refused(name: str) -> None:
    with pytest.raises(stepbench.StepbenchError, match="is no name for a variant: use 1 to 1000 printable"):
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
