"""The ways of executing a step: each wraps it and adds no model logic.

Importing this module loads no TensorFlow, so that a user's file can register a variant anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepbench.errors import StepbenchError
from stepbench.records.cases import BUILT_IN_EXECUTIONS, EAGER, GRAPH, KERAS, XLA, Case, check_name

if TYPE_CHECKING:
    import tensorflow as tf

    from stepbench.training.step import TrainState

    Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    StepFactory = Callable[[TrainState], Step]


@dataclass(frozen=True)
class Execution:
    """A registered way of executing a step."""

    name: str
    factory: StepFactory
    claims: str | None
    """What a measurement must prove it to be: ``eager``, ``graph``, ``xla``, or nothing."""


_registered: dict[str, Execution] = {}


def variant(name: str, *, claims: str | None = None) -> Callable[[StepFactory], StepFactory]:
    """Register a step of one's own, selected as ``--execution name``.

    The decorated factory gets the built :class:`TrainState` (``.model``, ``.loss``, ``.optimizer``, ``.metrics``)
    and returns ``step(x, y)``, which updates the weights and returns the scalar loss. It may update the metrics, which
    ``stepbench train`` shows. The step is called as it is returned: decorate it with ``tf.function`` inside the
    factory if it is to be compiled. With several steps per call it is looped inside one ``tf.function``. Only the
    state's own variables are restored between blocks.

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
        _registered[name] = Execution(name, factory, claims)
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


def build_call(state: TrainState, case: Case) -> Step:
    """The callable that a case times.

    Returns:
        With one step per call, a function of one batch, x of shape (batch, ...) and y of shape (batch, ...); with
        k steps per call, a function of k batches stacked, (k, batch, ...). It returns the last step's scalar loss.
    """
    execution = execution_named(case.variant.execution)
    if case.steps_per_call == 1:
        return execution.factory(state)
    if execution.name in (GRAPH, XLA):
        return _compiled(_repeated(_plain(state), case.steps_per_call), jit_compile=execution.name == XLA)
    return _compiled(_repeated(execution.factory(state), case.steps_per_call), jit_compile=execution.claims == XLA)


def _built_in_executions() -> dict[str, Execution]:
    factories: dict[str, StepFactory] = {
        EAGER: _plain,
        GRAPH: lambda state: _compiled(_plain(state), jit_compile=False),
        XLA: lambda state: _compiled(_plain(state), jit_compile=True),
        KERAS: _keras_step,
    }
    # Keras decides by itself whether to use XLA ("auto"), so nothing but a graph can be claimed for it.
    claims = {KERAS: GRAPH}
    return {name: Execution(name, factory, claims.get(name, name)) for name, factory in factories.items()}


def _plain(state: TrainState) -> Step:
    from stepbench.training.step import train_step

    return functools.partial(train_step, state)


def _compiled(step: Step, *, jit_compile: bool) -> Step:
    import tensorflow as tf

    # The step has no Python control flow on tensors, so there is nothing for autograph to rewrite.
    compiled: Step = tf.function(step, jit_compile=jit_compile, autograph=False)
    return compiled


def _repeated(step: Step, times: int) -> Step:
    import tensorflow as tf

    def steps(xs: tf.Tensor, ys: tf.Tensor) -> tf.Tensor:
        def body(index: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return index + 1, step(xs[index], ys[index])

        zero = (tf.constant(0), tf.constant(0.0))
        _, loss = tf.while_loop(lambda index, _: index < times, body, zero, parallel_iterations=1)
        return loss

    return steps


def _keras_step(state: TrainState) -> Step:
    """Keras' own compiled train function, as ``model.fit`` runs it on one batch.

    It returns Keras' loss, which is the running mean since its metrics were last reset.
    """
    state.model.compile(optimizer=state.optimizer, loss=state.loss, metrics=[state.metrics.accuracy])
    # A loss metric of its own would be neither shown, nor reset, nor restored with the state.
    state.model._loss_tracker = state.metrics.loss  # noqa: SLF001 - Keras lets no one choose it.
    state.model.make_train_function()

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return state.model.train_function(iter([(x, y)]))["loss"]

    return step
