"""Inside a worker: see what a step hands to its optimizers, and what its gradient tapes give it.

What is seen is kept in variables, so that it can be seen of compiled steps too. The step that is timed is not observed;
that both do the same is judged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import tensorflow as tf

from stepbench.training.state import TrainState, inner_optimizer, raw
from stepbench.worker.tensors import Gradient, Rows, wide


@dataclass(eq=False)
class _Slot:
    """Keeps one gradient, in the form in which it was handed over."""

    weight: Any
    is_none: bool = False
    dense: tf.Variable | None = None
    indices: tf.Variable | None = None

    def keep(self, gradient: Any) -> None:
        """Take a gradient, while the step runs or is traced."""
        self.is_none = gradient is None
        if isinstance(gradient, tf.IndexedSlices):
            if self.indices is None:
                self.indices = _keeper(gradient.indices)
                self.dense = _keeper(gradient.values)
            self.indices.assign(gradient.indices)
            gradient = gradient.values
        if gradient is not None:
            gradient = tf.convert_to_tensor(gradient)
            if self.dense is None:
                self.dense = _keeper(gradient)
            self.dense.assign(gradient)

    def fits(self, gradient: Any) -> bool:
        """Whether a gradient has the form of those that were kept."""
        if gradient is None or self.dense is None:
            return True
        is_sparse = isinstance(gradient, tf.IndexedSlices)
        values = gradient.values if is_sparse else gradient
        dtype, shape = self.dense.dtype, self.dense.shape
        return is_sparse == (self.indices is not None) and values.dtype == dtype and values.shape == shape

    def read(self, scale: float = 1.0) -> Gradient:
        """The gradient, divided by ``scale``."""
        if self.is_none or self.dense is None:
            return None
        if self.indices is None:
            return wide(self.dense) / scale
        return Rows(self.indices.numpy(), wide(self.dense) / scale, tuple(raw(self.weight).shape))

    def handed_over(self) -> Any:
        """The gradient as the optimizer was given it, in float64."""
        if self.is_none or self.dense is None:
            return None
        values = tf.cast(self.dense, tf.float64)
        if self.indices is None:
            return values
        return tf.IndexedSlices(values, self.indices.read_value(), tf.constant(tuple(raw(self.weight).shape)))


@dataclass(eq=False)
class Application:
    """One call of one optimizer in a step."""

    optimizer: int
    """Its position in the state."""
    weights: list[Any]
    slots: list[_Slot]
    done: tf.Variable
    before: list[tf.Variable] = field(default_factory=list)
    """The weights just before; kept only where a step may change them itself."""
    after: list[tf.Variable] = field(default_factory=list)

    @property
    def was_done(self) -> bool:
        """Whether it was in the last step; loss scaling may have skipped it."""
        return bool(self.done.numpy())

    def gradients(self) -> list[Gradient]:
        """What the optimizer was given."""
        return [slot.read() for slot in self.slots]


class Observer:
    """Keeps what the last step of a state did. To be made before the step is built, as it is traced into it."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._keeps_weights = state.has_own_step
        self._called = 0
        self.applications: list[Application] = []
        self._taped: dict[int, _Slot] = {}
        self._of_several_forms: set[int] = set()
        self._trained = {id(raw(weight)): weight for weight in trained_weights(state)}
        for number, optimizer in enumerate(map(inner_optimizer, state.optimizers)):
            optimizer.apply = self._watching(number, optimizer, optimizer.apply)
        tf.GradientTape.gradient = self._watching_tape(tf.GradientTape.gradient)
        self.scales = [tf.Variable(1.0, trainable=False) for _ in state.optimizers]
        """Of the loss, for each optimizer, in the last step."""

    def watched(self) -> TrainState:
        """The state with a step that tells the observer when it begins, to be run or to be traced."""

        def step(batch: Any) -> Any:
            self._called = 0
            return self._state.step(batch)

        return replace(self._state, step=step)

    def begin(self) -> None:
        """Forget what was seen; a step is about to run."""
        self._called = 0
        for application in self.applications:
            application.done.assign(False)  # noqa: FBT003 - a tensor's value.
        for optimizer, scale in zip(self._state.optimizers, self.scales, strict=True):
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                scale.assign(tf.cast(optimizer.dynamic_scale, tf.float32))

    def done(self) -> list[Application]:
        """The applications of the last step, in their order."""
        return [application for application in self.applications if application.was_done]

    def taped(self) -> dict[int, Gradient]:
        """What gradient tapes gave for each weight of Keras' own step, by its identity, loss scaling undone."""
        if self._state.has_own_step:  # Which may take several, and make what it likes of them.
            return {}
        scale = float(self.scales[0]) if self.scales else 1.0
        return {key: slot.read(scale) for key, slot in self._taped.items()}

    def taped_slot(self, weight: Any) -> _Slot | None:
        """Where what the last gradient tape gave for a weight is kept."""
        return self._taped.get(id(raw(weight)))

    def _watching(self, number: int, optimizer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
            gradients = list(grads)
            weights = list(trainable_variables or optimizer._trainable_variables)  # noqa: SLF001 - as apply does.
            application = self._application(number, weights)
            for slot, gradient in zip(application.slots, gradients, strict=True):
                slot.keep(gradient)
            if self._keeps_weights:
                _copy(weights, application.before)
            result = original(gradients, trainable_variables)
            if self._keeps_weights:
                _copy(weights, application.after)
            application.done.assign(True)  # noqa: FBT003 - a tensor's value.
            return result

        return apply

    def _application(self, number: int, weights: list[Any]) -> Application:
        """That of the call which is being made; the first time a step is traced or run, a new one."""
        index, self._called = self._called, self._called + 1
        known = self.applications[index] if index < len(self.applications) else None
        if known is None or known.optimizer != number or len(known.weights) != len(weights):
            done = _outside(lambda: tf.Variable(False, trainable=False))  # noqa: FBT003 - a tensor's value.
            known = Application(number, weights, [_Slot(weight) for weight in weights], done)
            self.applications[index:] = [known]
        return known

    def _watching_tape(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def gradient(tape: tf.GradientTape, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(tape, target, sources, *args, **kwargs)
            if isinstance(sources, list | tuple) and isinstance(result, list | tuple):
                for source, found in zip(sources, result, strict=True):
                    self._keep_taped(source, found)
            return result

        gradient.__wrapped__ = original  # type: ignore[attr-defined] # It says that tapes are marked already.
        return gradient

    def _keep_taped(self, source: Any, gradient: Any) -> None:
        key = id(raw(source))
        if key not in self._trained or key in self._of_several_forms:
            return
        slot = self._taped.setdefault(key, _Slot(source))
        if slot.fits(gradient):
            slot.keep(gradient)
        else:  # Tapes of one step give it differently, so none of them is the one that counts.
            del self._taped[key]
            self._of_several_forms.add(key)


def trained_weights(state: TrainState) -> list[Any]:
    """The weights that are trained: a Keras model's, or all trainable variables."""
    if state.keras_model is not None:
        return list(state.keras_model.trainable_variables)
    return [weight for weight in state.weights if weight.trainable]


def _keeper(tensor: tf.Tensor) -> tf.Variable:
    """A variable for values such as this one, of any length where the graph does not know it."""
    shape, dtype = tensor.shape, tensor.dtype
    return _outside(lambda: tf.Variable(tf.zeros([size or 0 for size in shape], dtype), trainable=False, shape=shape))


@tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator] # TensorFlow has no types.
def _outside(make: Callable[[], tf.Variable]) -> tf.Variable:
    """A variable made outside of the function that is being traced, which would else be traced once more for it."""
    return _elsewhere().submit(make).result()


@functools.cache
def _elsewhere() -> ThreadPoolExecutor:
    """A thread in which nothing is traced: what is being traced is known to its thread alone."""
    return ThreadPoolExecutor(1)


def _copy(weights: Sequence[Any], keepers: list[tf.Variable]) -> None:
    if not keepers:
        keepers.extend(_keeper(tf.convert_to_tensor(raw(weight))) for weight in weights)
    for weight, keeper in zip(weights, keepers, strict=True):
        keeper.assign(raw(weight))
