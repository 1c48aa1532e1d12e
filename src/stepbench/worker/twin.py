"""Inside a worker: the workload's own optimizers on its own model built a second time, in float64.

Fed what a variant's optimizers were fed, in the same form, they show what these should have made of it. Being built by
the user's own code, they have the same paths, exclusions, constraints, schedules and slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from stepbench.records.cases import Precision
from stepbench.records.verify import TensorError
from stepbench.training.state import FLOAT64, TrainState, inner_optimizer, policy_of, raw
from stepbench.worker.forced import Snapshot
from stepbench.worker.reference import UNIT_ROUNDOFF
from stepbench.worker.tensors import Array, Gradient, Rows, as_written, assign, short_name, tensor_error, value_of, wide

ROUNDOFF = UNIT_ROUNDOFF[Precision.FLOAT32]
ROUNDINGS = 64 * ROUNDOFF
"""What computing an update in float32 may add: 1 - beta, say, loses ten bits when beta is kept in float32."""
SHAKE = 16 * ROUNDOFF
"""By how much gradients and slots are changed to see what their rounding does: a sign may turn over."""


Change = Callable[[Sequence[Any], Sequence[Any]], list[tf.Tensor]]
"""Of each weight, made of all weights and their gradients."""
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Fed:
    """One application of an optimizer, as the variant made it."""

    optimizer: int
    weights: list[Any]
    """Of the variant."""
    gradients: list[Gradient]
    before: list[Array]
    after: list[Array]


class OptimizerTwin:
    """The optimizers of a state built in float64."""

    def __init__(self, twin: TrainState, variant: TrainState) -> None:
        """Pair the weights of the float64 state with the variant's."""
        self._optimizers = [inner_optimizer(one) for one in twin.optimizers]
        self._changes: dict[tuple[int, ...], Change] = {}
        self._weights = {id(raw(theirs)): mine for theirs, mine in zip(variant.weights, twin.weights, strict=True)}
        for mine, theirs in zip(self._optimizers, map(inner_optimizer, variant.optimizers), strict=True):
            if theirs.built and not mine.built:  # By a step that does not even trace in float64.
                trained = theirs._trainable_variables  # noqa: SLF001 - those that it was built for.
                mine.build([self._weights[id(raw(weight))] for weight in trained])

    def force(self, snapshot: Snapshot) -> None:
        """Put the optimizers where ``snapshot`` is."""
        for optimizer, values in zip(self._optimizers, snapshot.optimizers, strict=True):
            assign(optimizer.variables, values)

    def apply(self, fed: Fed) -> tuple[tuple[TensorError, ...], list[Array]]:
        """Make the update that the variant's optimizer should have made of what it was fed.

        Returns:
            The errors of the variant's change of each weight, and the change of each as it should be.
        """
        optimizer = self._optimizers[fed.optimizer]
        state = [value_of(raw(variable)) for variable in optimizer.variables]
        right = self._change(fed, 0.0)
        end = [value_of(raw(variable)) for variable in optimizer.variables]
        shaken = []
        for sign in (1, -1):
            assign(optimizer.variables, [_shaken(value, -sign) for value in state])
            shaken.append(self._change(fed, sign * SHAKE))
        assign(optimizer.variables, end)
        errors = []
        for index, weight in enumerate(fed.weights):
            mine = fed.after[index] - fed.before[index]
            spread = np.maximum(*(np.abs(draw[index] - right[index]) for draw in shaken))
            allowed = ROUNDINGS * np.abs(right[index]) + ROUNDOFF * np.abs(fed.after[index]) + spread
            errors.append(tensor_error(short_name(weight), mine, right[index], float(np.linalg.norm(allowed))))
        return tuple(errors), right

    def slots(self, optimizer: int, found: Sequence[Array]) -> tuple[TensorError, ...]:
        """The errors of an optimizer's variables after its updates."""
        variables = self._optimizers[optimizer].variables
        errors = []
        for variable, mine in zip(variables, found, strict=True):
            right = wide(variable)
            errors.append(tensor_error(variable.name, mine, right, ROUNDINGS * float(np.linalg.norm(right))))
        return tuple(errors)

    def function_of(self, weights: Sequence[Any], optimizer: int) -> Change:
        """What makes an update in TensorFlow, from weights and gradients: the change of each weight."""
        mine = [self._weights[id(raw(weight))] for weight in weights]

        def change(before: Sequence[tf.Tensor], gradients: Sequence[Any]) -> list[tf.Tensor]:
            starts = [tf.cast(value, raw(weight).dtype) for value, weight in zip(before, mine, strict=True)]
            for weight, start in zip(mine, starts, strict=True):
                raw(weight).assign(start)
            with policy_of(FLOAT64):
                self._optimizers[optimizer].apply([_fitting(*pair) for pair in zip(gradients, mine, strict=True)], mine)
            ends = (tf.cast(raw(weight), tf.float64) for weight in mine)
            return [end - tf.cast(start, tf.float64) for end, start in zip(ends, starts, strict=True)]

        return change

    def graph_of(self, weights: Sequence[Any], optimizer: int) -> Change:
        """The same as a graph, traced once for all who ask, if they give everything in float64."""
        key = (optimizer, *(id(raw(weight)) for weight in weights))
        if key not in self._changes:
            self._changes[key] = traced(self.function_of(weights, optimizer))
        return self._changes[key]

    def _change(self, fed: Fed, shake: float) -> list[Array]:
        change = self.graph_of(fed.weights, fed.optimizer)
        gradients = [_as_tensor(one, shake) for one in fed.gradients]
        return [wide(found) for found in change([tf.constant(value) for value in fed.before], gradients)]


def traced(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function as a graph, in which many small operations take less; as it is where an optimizer has no graph."""
    chosen: Callable[..., Result] = tf.function(function, autograph=False, reduce_retracing=True)

    def call(*arguments: Any) -> Result:
        nonlocal chosen
        try:
            with as_written():
                return chosen(*arguments)
        except tf.errors.OpError:
            raise
        except Exception:  # noqa: BLE001 - users' optimizers may raise anything; what is wrong in both is raised below.
            chosen = function
            return function(*arguments)

    return call


def _as_tensor(gradient: Gradient, shake: float) -> Any:
    if gradient is None:
        return None
    if isinstance(gradient, Rows):
        values = tf.constant(gradient.values * (1 + shake))
        return tf.IndexedSlices(values, tf.constant(gradient.indices), tf.constant(gradient.shape))
    return tf.constant(gradient * (1 + shake))


def _fitting(gradient: Any, weight: Any) -> Any:
    """A gradient in the dtype of its weight, which a layer may fix to float32."""
    dtype = raw(weight).dtype
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(tf.cast(gradient.values, dtype), gradient.indices, gradient.dense_shape)
    return None if gradient is None else tf.cast(gradient, dtype)


def _shaken(value: Any, sign: int) -> Any:
    """Slots with the opposite change of the gradients'."""
    array = np.asarray(value)
    if array.dtype.kind != "f" or not array.ndim:
        return value
    return array * (1 + sign * SHAKE)
