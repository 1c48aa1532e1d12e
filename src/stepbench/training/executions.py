"""The ways of executing a step: each wraps it and adds no model logic.

Importing this module loads no TensorFlow, so that a user's file can register a variant anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepbench.errors import StepbenchError
from stepbench.records.cases import BUILT_IN_EXECUTIONS, EAGER, GRAPH, KERAS, XLA, Case, check_name

if TYPE_CHECKING:
    from stepbench.training.state import TrainState

Call = Callable[[Any], Any]
"""Takes a batch, or several stacked; gives the loss, or a dict of figures with it."""
StepFactory = Callable[["TrainState"], Callable[..., Any]]


@dataclass(frozen=True)
class Execution:
    """A registered way of executing a step."""

    name: str
    make: Callable[[TrainState], Call]
    """Gives what is called with a batch."""
    claims: str | None
    """What a measurement must prove it to be: ``eager``, ``graph``, ``xla``, or nothing."""


_registered: dict[str, Execution] = {}


def variant(name: str, *, claims: str | None = None) -> Callable[[StepFactory], StepFactory]:
    """Register a step of one's own, selected as ``--execution name``.

    The decorated factory gets the built :class:`TrainState` (``.model``, ``.loss``, ``.optimizer``, ``.metrics``)
    and returns ``step(x, y)``, or ``step(x, y, sample_weight)`` where the data has weights, which updates the weights
    and returns the scalar loss. It may update the metrics, which ``stepbench train`` shows. The step is called as it is
    returned: decorate it with ``tf.function`` inside the factory if it is to be compiled. With several steps per call
    it is looped inside one ``tf.function``. Only the state's own variables are restored between blocks.

    Args:
        name: a new name.
        claims: ``eager``, ``graph`` or ``xla`` has each measurement prove that the step runs that way.

    Raises:
        StepbenchError: when the name is taken or cannot stand in a case id, or the claim is unknown.
    """
    check_name("variant", name)
    if name in BUILT_IN_EXECUTIONS or name in _registered:
        raise StepbenchError(f"There is a variant {name!r} already: register yours under another name.")
    if claims not in (None, EAGER, GRAPH, XLA):
        raise StepbenchError(f"A variant cannot claim {claims!r}: use eager, graph or xla.")

    def register(factory: StepFactory) -> StepFactory:
        def make(state: TrainState) -> Call:
            step = factory(state)
            return lambda batch: step(*parts_of(batch))

        _registered[name] = Execution(name, make, claims)
        return factory

    return register


def execution_named(name: str) -> Execution:
    """The built-in or registered execution of that name.

    Raises:
        StepbenchError: when there is none.
    """
    executions = {**_built_in_executions(), **_registered}
    if name not in executions:
        raise StepbenchError(
            f"There is no execution {name!r}: use one of {', '.join(executions)}, or name its file with --plugin."
        )
    return executions[name]


def build_call(state: TrainState, case: Case) -> Call:
    """The callable that a case times.

    Returns:
        With one step per call, a function of one batch; with k steps per call, a function of k batches stacked, (k,
        batch, ...). It returns what the step gives, or the last step's scalar loss.
    """
    execution = execution_named(case.variant.execution)
    if case.steps_per_call == 1:
        return execution.make(state)
    if execution.name in (GRAPH, XLA):
        return _compiled(_repeated(state.step, case.steps_per_call), state, jit_compile=execution.name == XLA)
    step = _repeated(execution.make(state), case.steps_per_call)
    return _compiled(step, state, jit_compile=execution.claims == XLA)


def parts_of(batch: Any) -> tuple[Any, ...]:
    """Inputs, targets and sample weights of a batch, without those that it lacks at the end."""
    import keras

    parts = keras.utils.unpack_x_y_sample_weight(batch)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    return tuple(parts)


def _built_in_executions() -> dict[str, Execution]:
    makers: dict[str, Callable[[TrainState], Call]] = {
        EAGER: lambda state: state.step,
        GRAPH: lambda state: _compiled(state.step, state, jit_compile=False),
        XLA: lambda state: _compiled(state.step, state, jit_compile=True),
        KERAS: _keras_step,
    }
    # Keras decides by itself whether to use XLA ("auto"), so nothing but a graph can be claimed for it.
    claims = {KERAS: GRAPH}
    return {name: Execution(name, make, claims.get(name, name)) for name, make in makers.items()}


def _compiled(step: Call, state: TrainState, *, jit_compile: bool) -> Call:
    import tensorflow as tf

    # Keras' methods are traced as they are, as Keras does it; what a user wrote for tf.function may need autograph.
    autograph = state.keras_model is None
    compiled: Call = tf.function(step, jit_compile=jit_compile, autograph=autograph, reduce_retracing=True)
    return compiled


def _repeated(step: Call, times: int) -> Call:
    import keras
    import tensorflow as tf

    from stepbench.training.step import loss_of

    def steps(batches: Any) -> tf.Tensor:
        dtype = keras.config.floatx()

        def body(index: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            result = step(tf.nest.map_structure(lambda stacked: stacked[index], batches))
            return index + 1, tf.cast(tf.reduce_mean(loss_of(result)), dtype)

        zero = (tf.constant(0), tf.zeros((), dtype))
        _, loss = tf.while_loop(lambda index, _: index < times, body, zero, parallel_iterations=1)
        return loss

    return steps


def _keras_step(state: TrainState) -> Call:
    """Keras' own compiled train function, as ``model.fit`` runs it on one batch."""
    state.model.make_train_function(force=True)
    return lambda batch: state.model.train_function(iter([batch]))
