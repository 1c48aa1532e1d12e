"""Planted bugs: the one train step with something wrong around it, to show that verification would notice.

Loaded as a plugin, so that each bug is judged by the path that any user's step takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import BUGS, GRAPH, INNOCENT
from stepbench.training.step import TrainState, train_step
from stepbench.training.variants import variant

if TYPE_CHECKING:
    from stepbench.training.variants import Step

LATE = 100
Gradients = list[tf.Tensor]


def _plant(name: str) -> Callable[[Callable[[TrainState], Step]], Callable[[TrainState], Step]]:
    """Register a buggy step, run as a graph."""
    assert name in BUGS, "what the command line knows"

    def register(factory: Callable[[TrainState], Step]) -> Callable[[TrainState], Step]:
        @variant(name, claims=GRAPH)
        def compiled(state: TrainState) -> Step:
            step: Step = tf.function(factory(state), autograph=False)
            return step

        return compiled

    return register


@variant(INNOCENT, claims=GRAPH)
def _nothing(state: TrainState) -> Step:
    step: Step = tf.function(functools.partial(train_step, state), autograph=False)
    return step


@_plant("planted-learning-rate")
def _learning_rate(state: TrainState) -> Step:
    return _after_update(state, lambda before, after: before + 1.02 * (after - before))


@_plant("planted-bfloat16-weights")
def _bfloat16_weights(state: TrainState) -> Step:
    return _after_update(state, lambda _, after: tf.cast(tf.cast(after, tf.bfloat16), after.dtype))


@_plant("planted-dropped-gradient")
def _dropped_gradient(state: TrainState) -> Step:
    return _with_gradients(state, lambda gradients: [tf.zeros_like(gradients[0]), *gradients[1:]])


@_plant("planted-doubled-bias")
def _doubled_bias(state: TrainState) -> Step:
    def double(gradients: Gradients) -> Gradients:
        return [2 * gradient if len(gradient.shape) == 1 else gradient for gradient in gradients]

    return _with_gradients(state, double)


@_plant("planted-loss-scale")
def _loss_scale(state: TrainState) -> Step:
    if isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer):
        scale = state.optimizer.dynamic_scale
        return _with_gradients(state, lambda gradients: [gradient * scale for gradient in gradients])
    return _with_gradients(state, lambda gradients: [gradient * 2.0**15 for gradient in gradients])


@_plant("planted-clipping")
def _clipping(state: TrainState) -> Step:
    def clip(gradients: Gradients) -> Gradients:
        clipped, _ = tf.clip_by_global_norm(gradients, 0.1)
        return list(clipped)

    return _with_gradients(state, clip)


@_plant("planted-stale-gradient")
def _stale_gradient(state: TrainState) -> Step:
    kept = [tf.Variable(tf.zeros(weight.shape)) for weight in state.model.trainable_variables]

    def delay(gradients: Gradients) -> Gradients:
        last = [tf.identity(variable) for variable in kept]
        for variable, gradient in zip(kept, gradients, strict=True):
            variable.assign(gradient)
        return last

    return _with_gradients(state, delay)


@_plant("planted-epsilon")
def _epsilon(state: TrainState) -> Step:
    return _with_setting(state, "epsilon", 1e-3)


@_plant("planted-beta-2")
def _beta_2(state: TrainState) -> Step:
    return _with_setting(state, "beta_2", 0.99)


@_plant("planted-labels")
def _labels(state: TrainState) -> Step:
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        wrong = max(1, round(0.02 * x.shape[0]))
        # The examples whose neighbour is of another class come first, so that so many labels are really wrong.
        neighbours = tf.roll(y, 1, axis=0)
        differs = tf.argsort(tf.cast(tf.equal(y, neighbours), tf.int32), stable=True)[:wrong]
        changed = tf.tensor_scatter_nd_update(y, differs[:, None], tf.gather(neighbours, differs))
        return train_step(state, x, changed)

    return step


@_plant("planted-inference-mode")
def _inference_mode(state: TrainState) -> Step:
    if not any(_behaves_differently(layer) for layer in state.model._flatten_layers()):  # noqa: SLF001 - no public walk.
        raise StepbenchError("This model does the same in training and inference.")
    return functools.partial(train_step, replace(state, model=_InferenceModel(state.model)))


@_plant("planted-summed-loss")
def _summed_loss(state: TrainState) -> Step:
    def summed(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return state.loss(y, outputs) * tf.cast(tf.shape(y)[0], tf.float32)

    return functools.partial(train_step, replace(state, loss=summed))


@_plant("planted-late")
def _late(state: TrainState) -> Step:
    # Not one of the state's variables, so no comparison of single steps can set it to where the bug is.
    steps = tf.Variable(0)

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        share = tf.where(steps.assign_add(1) > LATE, 0.0, 1.0)
        return _after_update(state, lambda before, after: before + share * (after - before))(x, y)

    return step


def _after_update(state: TrainState, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Step:
    """The step, with each weight changed afterwards, given its values before and after."""

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        weights = [weight.value for weight in state.model.trainable_variables]
        before = [tf.identity(weight) for weight in weights]
        loss = train_step(state, x, y)
        for weight, old in zip(weights, before, strict=True):
            weight.assign(change(old, tf.identity(weight)))
        return loss

    return step


def _with_gradients(state: TrainState, change: Callable[[Gradients], Gradients]) -> Step:
    """The step, with its gradients changed on their way into the optimizer."""
    optimizer = _inner(state)
    original = optimizer.apply

    def apply(grads: Sequence[tf.Tensor], trainable_variables: Any = None) -> Any:
        return original(change(list(grads)), trainable_variables)

    optimizer.apply = apply
    return functools.partial(train_step, state)


def _with_setting(state: TrainState, name: str, value: float) -> Step:
    optimizer = _inner(state)
    if not hasattr(optimizer, name):
        raise StepbenchError(f"This optimizer has no {name}.")
    setattr(optimizer, name, value)
    return functools.partial(train_step, state)


def _inner(state: TrainState) -> Any:
    optimizer = state.optimizer
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def _behaves_differently(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) or hasattr(layer, "seed_generator")


class _InferenceModel:
    """A model that is never in training mode."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, x: tf.Tensor, *, training: bool) -> tf.Tensor:
        del training
        return self._model(x, training=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
