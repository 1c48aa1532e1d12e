"""A workload built under one precision: its step, not yet compiled, and every variable that the step may change."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import MAX_SEED
from stepbench.training.fit_data import Batch
from stepbench.training.step import mark_model, mark_optimizer, mark_tapes

FLOAT64 = "float64"


@dataclass(frozen=True)
class Metrics:
    """What is accumulated over an epoch, for steps written by hand."""

    loss: keras.metrics.Metric
    accuracy: keras.metrics.Metric | None
    """The first of the model's metrics."""


@dataclass(frozen=True, eq=False)
class TrainState:
    """A built workload. Every variable exists already, so a step traces once."""

    step: Callable[[Batch], Any]
    """Takes a batch; gives the loss, or a dict of figures with it."""
    optimizers: tuple[keras.optimizers.Optimizer, ...]
    variables: tuple[tf.Variable, ...]
    """All that a step may change, each once: weights, seeds, optimizer slots, loss scale, metrics."""
    weights: tuple[Any, ...] = ()
    """Those of them that are neither an optimizer's nor a metric's, in the same order however it is built."""
    keras_model: keras.Model | None = None
    evaluate: Callable[[], Mapping[str, Any]] | None = None
    """Of a training without a Keras model."""
    is_traceable: bool = True
    """Whether the step can be compiled; one that looks at values in Python runs eagerly only."""

    @property
    def has_own_step(self) -> bool:
        """Whether the step is the user's own, not Keras'."""
        return self.keras_model is None or overrides_step(self.keras_model)

    @property
    def model(self) -> keras.Model:
        """The Keras model.

        Raises:
            StepbenchError: when there is none.
        """
        if self.keras_model is None:
            raise StepbenchError("This training has no Keras model, which is needed here: use eager, graph or xla.")
        return self.keras_model

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The model's optimizer; under mixed_float16 with the loss scaling around it."""
        return self.model.optimizer

    def loss(self, y: Any, outputs: Any) -> tf.Tensor:
        """The loss that the model was compiled with, a scalar, without what layers add to it."""
        if isinstance(self.model.loss, keras.losses.Loss):
            return self.model.loss(y, outputs)
        whole = self.model.compute_loss(y=y, y_pred=outputs)
        return whole - tf.add_n(self.model.losses) if self.model.losses else whole

    @property
    def metrics(self) -> Metrics:
        """The running loss and the first of the model's metrics."""
        tracker, *others = self.model.metrics
        inner = [metric for other in others for metric in (getattr(other, "metrics", None) or [other])]
        return Metrics(tracker, inner[0] if inner else None)

    def reset_metrics(self) -> None:
        """Begin the running figures anew, as an epoch does."""
        if self.keras_model is not None:
            self.keras_model.reset_metrics()


@contextlib.contextmanager
def building(policy: str, seed: int) -> Iterator[None]:
    """Whatever is built in this context is built under a dtype policy, from a seed, with names as in a new process.

    Raises:
        StepbenchError: when the seed is out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise StepbenchError(f"The seed must be from 0 to {MAX_SEED}, not {seed}.")
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    with policy_of(policy), _everywhere() if policy == FLOAT64 else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def redrawing(policy: str, seed: int) -> Iterator[None]:
    """Whatever is built in this context has the initial weights that it has in :func:`building`, if Keras draws them.

    To begin names and TensorFlow's own random numbers anew, as that does, has TensorFlow forget every function that it
    has called, and each is made ready once more at its next call: of a deep network that takes longer than a training
    of a hundred steps. Weights that are drawn in another way differ, which is to be looked at.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what Keras and users draw from who have no generator of their own.
    with policy_of(policy):
        yield


@contextlib.contextmanager
def _everywhere() -> Iterator[None]:
    """Build layers in float64 too that are fixed to another dtype, as to float32 at the end of a mixed model."""
    original = keras.layers.Layer.__init__

    # Without the original's signature, which Keras reads and would find at odds with this one's.
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "dtype": None} if kwargs.get("dtype") is not None else kwargs)

    keras.layers.Layer.__init__ = init
    try:
        yield
    finally:
        keras.layers.Layer.__init__ = original


@contextlib.contextmanager
def policy_of(policy: str) -> Iterator[None]:
    """A dtype policy, which also decides the dtype of losses and metrics where it is float64."""
    keras.config.set_dtype_policy(str(policy))  # Keras takes no kind of string but str.
    keras.config.set_floatx(FLOAT64 if policy == FLOAT64 else "float32")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")


def widened(batch: Batch) -> Batch:
    """A batch in float64, but for what are no floating-point numbers."""
    return tf.nest.map_structure(lambda part: tf.cast(part, FLOAT64) if part.dtype.is_floating else part, batch)


def model_state(model: keras.Model, batch: Batch) -> TrainState:
    """A compiled model, its variables made for batches like this one."""
    traced = _make_variables(model, _as_floatx(batch))
    own = (*model.variables, *_raw_variables(model))
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    mark_model(model)
    state = _state(model.train_step, optimizers_of(model), own, metrics, traced)
    return replace(state, keras_model=model)


def untraced_state(model: keras.Model) -> TrainState:
    """A compiled model with the variables that it has before its first step, which for many is all but the metrics'."""
    _build_optimizer(model)
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    own = (*model.variables, *_raw_variables(model))
    return replace(_state(model.train_step, optimizers_of(model), own, metrics, ()), keras_model=model)


def training_state(
    step: Callable[[Batch], Any],
    optimizers: Sequence[keras.optimizers.Optimizer],
    variables: Iterable[Any],
    evaluate: Callable[[], Mapping[str, Any]] | None,
    batch: Batch,
) -> TrainState:
    """A training without a Keras model, its variables made by a trace of its step."""
    traced = _variables_of_trace(step, _as_floatx(batch))
    return replace(_state(step, tuple(optimizers), tuple(variables), (), traced), evaluate=evaluate)


def _state(
    step: Callable[[Batch], Any],
    optimizers: tuple[keras.optimizers.Optimizer, ...],
    own: Sequence[Any],
    metrics: Sequence[Any],
    traced: tuple[tf.Variable, ...] | None,
) -> TrainState:
    """A step whose variables are known: its own, its optimizers', its metrics', and what a trace found beside."""
    held = _distinct(*(one.variables for one in optimizers), metrics)
    for optimizer in optimizers:
        mark_optimizer(optimizer)
    mark_tapes()
    return TrainState(
        step=step,
        optimizers=optimizers,
        variables=_distinct(own, held, traced or ()),
        weights=_without((*own, *(traced or ())), held),
        is_traceable=traced is not None,
    )


def _as_floatx(batch: Batch) -> Batch:
    return widened(batch) if keras.config.floatx() == FLOAT64 else batch


def overrides_step(model: keras.Model) -> bool:
    """Whether the model's class has a ``train_step`` of its own."""
    return bool(getattr(type(model).train_step, "__qualname__", "") != keras.Model.train_step.__qualname__)


def optimizers_of(model: keras.Model) -> tuple[keras.optimizers.Optimizer, ...]:
    """The model's optimizer, and those that it holds as attributes, as a GAN does."""
    held = (value for attribute in vars(model).values() for value in _members(attribute))
    found = [value for value in (model.optimizer, *held) if isinstance(value, keras.optimizers.Optimizer)]
    return tuple({id(optimizer): optimizer for optimizer in found}.values())


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer itself, without loss scaling around it."""
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if scaled else optimizer


def _members(attribute: Any) -> Iterable[Any]:
    if isinstance(attribute, Mapping):
        return attribute.values()
    return attribute if isinstance(attribute, list | tuple | set) else (attribute,)


def _make_variables(model: keras.Model, batch: Batch) -> tuple[tf.Variable, ...] | None:
    """Have every variable made that the first step makes, by a trace that nobody runs; those that it touches.

    Keras makes them while ``fit`` traces its train function. Of its own step the forward part will do.
    """
    if overrides_step(model) or type(model).test_step is not keras.Model.test_step:
        traced = _variables_of_trace(model.train_step, batch)
    else:
        # It touches what Keras keeps to a layer too: the states of a stateful recurrent one.
        traced = _variables_of_trace(model.test_step, batch)
    _build_optimizer(model)
    return traced


def _build_optimizer(model: keras.Model) -> None:
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _variables_of_trace(step: Callable[[Batch], Any], batch: Batch) -> tuple[tf.Variable, ...] | None:
    """Trace a step that nobody runs: it makes the slots of optimizers that are built when first applied.

    None where it cannot be traced.
    """
    try:
        traced = tf.function(step, autograph=False).get_concrete_function(batch)
    except Exception:  # noqa: BLE001 - it may run eagerly all the same; in a graph it fails again, and tells.
        return None
    # As a set they have no order; the trace first meets them in the same one whenever and wherever it is made.
    met = {id(outer): number for number, (outer, _) in enumerate(traced.graph.captures)}
    return tuple(sorted(traced.graph.variables, key=lambda variable: met.get(id(variable.handle), len(met))))


def _raw_variables(model: keras.Model) -> Iterator[tf.Variable]:
    """TensorFlow's own variables, such as a random generator's state, that layers hold beside Keras'."""
    for found in tf.train.TrackableView(model).descendants():
        if isinstance(found, tf.Variable):
            yield found


def raw(variable: Any) -> tf.Variable:
    """TensorFlow's variable in Keras' shell, or the variable itself."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _distinct(*groups: Iterable[Any]) -> tuple[tf.Variable, ...]:
    variables = (raw(variable) for group in groups for variable in group)
    return tuple({id(variable): variable for variable in variables}.values())


def _without(variables: Iterable[Any], held: Iterable[tf.Variable]) -> tuple[Any, ...]:
    """Keras' or TensorFlow's variables, each once, but for those that are held elsewhere."""
    seen = {id(variable) for variable in held}
    kept = []
    for variable in variables:
        if id(raw(variable)) not in seen:
            seen.add(id(raw(variable)))
            kept.append(variable)
    return tuple(kept)


def layers_of(state: TrainState) -> list[keras.layers.Layer]:
    """All layers of a Keras model, nested ones too."""
    if state.keras_model is None:
        return []
    return list(state.keras_model._flatten_layers())  # noqa: SLF001 - Keras offers no public walk.
