"""Planted bugs: the workload's own step with something wrong around it, to show that verification would notice.

Loaded as a plugin, so that each bug is judged by the path that any user's step takes. They change what Keras' public
methods are given or give, so they can be planted in any step that calls these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from stepbench.errors import NotApplicableError
from stepbench.records.cases import BEGINS_AFTER, BUGS, GRAPH, INNOCENT
from stepbench.training.executions import variant
from stepbench.training.state import TrainState, inner_optimizer, layers_of

Gradients = list[Any]
Step = Callable[..., Any]


def _plant(name: str) -> Callable[[Callable[[TrainState], Step]], Callable[[TrainState], Step]]:
    """Register a buggy step, run as a graph."""
    assert name in BUGS or name == INNOCENT, "what the command line knows"

    def register(factory: Callable[[TrainState], Step]) -> Callable[[TrainState], Step]:
        @variant(name, claims=GRAPH)
        def compiled(state: TrainState) -> Step:
            step: Step = tf.function(factory(state), autograph=False)
            return step

        return compiled

    return register


def _own_step(state: TrainState) -> Step:
    return lambda *parts: state.step(parts if len(parts) > 1 else parts[0])


@_plant(INNOCENT)
def _nothing(state: TrainState) -> Step:
    return _own_step(state)


@_plant("planted-learning-rate")
def _learning_rate(state: TrainState) -> Step:
    return _after_update(state, lambda before, after: before + 1.02 * (after - before))


@_plant("planted-bfloat16-weights")
def _bfloat16_weights(state: TrainState) -> Step:
    return _after_update(state, lambda _, after: tf.cast(tf.cast(after, tf.bfloat16), after.dtype))


@_plant("planted-dropped-gradient")
def _dropped_gradient(state: TrainState) -> Step:
    def drop(gradients: Gradients) -> Gradients:
        first = next(number for number, gradient in enumerate(gradients) if gradient is not None)
        return [_times(one, 0.0) if number == first else one for number, one in enumerate(gradients)]

    return _with_gradients(state, drop)


@_plant("planted-doubled-bias")
def _doubled_bias(state: TrainState) -> Step:
    if all(len(weight.shape) != 1 for weight in _trained(state)):
        raise NotApplicableError("This model has no trained weights of one axis.")

    def double(gradients: Gradients) -> Gradients:
        return [one if one is None or len(one.shape) != 1 else _times(one, 2.0) for one in gradients]

    return _with_gradients(state, double)


@_plant("planted-loss-scale")
def _loss_scale(state: TrainState) -> Step:
    scalers = [one for one in state.optimizers if isinstance(one, keras.optimizers.LossScaleOptimizer)]
    scale = scalers[0].dynamic_scale if scalers else 2.0**15
    return _with_gradients(state, lambda gradients: [_times(one, scale) for one in gradients])


@_plant("planted-clipping")
def _clipping(state: TrainState) -> Step:
    def clip(gradients: Gradients) -> Gradients:
        clipped, _ = tf.clip_by_global_norm(gradients, 1e-3)
        return list(clipped)

    return _with_gradients(state, clip)


@_plant("planted-stale-gradient")
def _stale_gradient(state: TrainState) -> Step:
    kept = {id(weight): tf.Variable(tf.zeros(weight.shape)) for weight in _trained(state)}

    def delayed(gradient: Any, weight: Any) -> Any:
        if gradient is None:
            return None
        last = tf.identity(kept[id(weight)])
        kept[id(weight)].assign(tf.cast(tf.convert_to_tensor(gradient), last.dtype))
        return last

    def change(gradients: Gradients, weights: Sequence[Any]) -> Gradients:
        return [delayed(gradient, weight) for gradient, weight in zip(gradients, weights, strict=True)]

    return _around_updates(state, change, lambda *_: None)


@_plant("planted-flipped-sign")
def _flipped_sign(state: TrainState) -> Step:
    calls = tf.Variable(0)

    def flip(gradients: Gradients) -> Gradients:
        sign = tf.where(calls.assign_add(1) % BEGINS_AFTER["planted-flipped-sign"] == 0, -1.0, 1.0)
        return [_times(one, sign) for one in gradients]

    return _with_gradients(state, flip)


@_plant("planted-epsilon")
def _epsilon(state: TrainState) -> Step:
    return _with_setting(state, "epsilon", 1e-3)


@_plant("planted-beta-2")
def _beta_2(state: TrainState) -> Step:
    return _with_setting(state, "beta_2", 0.99)


@_plant("planted-momentum-reset")
def _momentum_reset(state: TrainState) -> Step:
    slots = [slot for one in state.optimizers for slot in inner_optimizer(one).variables if len(slot.shape)]
    if not slots:
        raise NotApplicableError("This optimizer keeps nothing from step to step.")
    calls = tf.Variable(0)
    step = _own_step(state)

    def resetting(*parts: Any) -> Any:
        kept = tf.where(calls.assign_add(1) % BEGINS_AFTER["planted-momentum-reset"] == 0, 0.0, 1.0)
        for slot in slots:
            slot.assign(slot.value * tf.cast(kept, slot.dtype))
        return step(*parts)

    return resetting


@_plant("planted-labels")
def _labels(state: TrainState) -> Step:
    step = _own_step(state)

    def relabelled(x: Any, y: Any = None, *weights: Any) -> Any:
        if y is None:
            raise NotApplicableError("This workload has no targets.")
        return step(x, tf.nest.map_structure(_neighbours, y), *weights)

    return relabelled


@_plant("planted-inference-mode")
def _inference_mode(state: TrainState) -> Step:
    if not any(_behaves_differently(layer) for layer in layers_of(state)):
        raise NotApplicableError("This model does the same in training and inference.")
    kind: Any = type(state.model)

    def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.__call__(model, *args, **{**kwargs, "training": False})

    object.__setattr__(state.model, "__class__", type(kind.__name__, (kind,), {"__call__": call}))
    return _own_step(state)


@_plant("planted-summed-loss")
def _summed_loss(state: TrainState) -> Step:
    def summed(loss: tf.Tensor, batch: Any) -> tf.Tensor:
        return loss * tf.cast(tf.shape(tf.nest.flatten(batch)[0])[0], loss.dtype)

    return _with_loss(state, summed)


@_plant("planted-late")
def _late(state: TrainState) -> Step:
    # Not one of the state's variables, so no comparison of single steps can set it to where the bug is.
    steps = tf.Variable(0)

    def share(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        return before + tf.cast(tf.where(steps > BEGINS_AFTER["planted-late"], 0.5, 1.0), after.dtype) * (
            after - before
        )

    halved = _after_update(state, share)

    def counted(*parts: Any) -> Any:
        steps.assign_add(1)
        return halved(*parts)

    return counted


@_plant("planted-late-loss")
def _late_loss(state: TrainState) -> Step:
    calls = tf.Variable(0)
    begin = BEGINS_AFTER["planted-late-loss"]
    step = _with_loss(state, lambda loss, _: loss * tf.cast(tf.where(calls > begin, 2.0, 1.0), loss.dtype))

    def counted(*parts: Any) -> Any:
        calls.assign_add(1)
        return step(*parts)

    return counted


def _times(gradient: Any, factor: Any) -> Any:
    """A gradient in the form that it has: sparse ones stay sparse, and none stays none."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values * tf.cast(factor, gradient.values.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def _neighbours(y: tf.Tensor) -> tf.Tensor:
    """Two in a hundred targets taken from a neighbour, those first whose neighbour has another."""
    size = y.shape[0] or tf.shape(y)[0]
    wrong = tf.maximum(1, tf.cast(tf.round(0.02 * tf.cast(size, tf.float32)), tf.int32))
    neighbours = tf.roll(y, 1, axis=0)
    flat = tf.reshape(tf.equal(y, neighbours), [size, -1])
    same = tf.cast(tf.reduce_all(flat, axis=1), tf.int32)
    differs = tf.argsort(same, stable=True)[:wrong]
    return tf.tensor_scatter_nd_update(y, differs[:, None], tf.gather(neighbours, differs))


def _trained(state: TrainState) -> list[Any]:
    return [weight for weight in state.weights if weight.trainable]


def _after_update(state: TrainState, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Step:
    """The step, with each weight changed after each update, given its values before and after."""

    def after(weights: Sequence[Any], before: Sequence[tf.Tensor]) -> None:
        for weight, old in zip(weights, before, strict=True):
            weight.assign(change(old, tf.identity(weight)))

    return _around_updates(state, lambda gradients, _: gradients, after)


def _with_gradients(state: TrainState, change: Callable[[Gradients], Gradients]) -> Step:
    """The step, with its gradients changed on their way into the optimizers."""
    return _around_updates(state, lambda gradients, _: change(gradients), lambda *_: None)


def _around_updates(
    state: TrainState,
    change: Callable[[Gradients, Sequence[Any]], Gradients],
    after: Callable[[Sequence[Any], Sequence[tf.Tensor]], None],
) -> Step:
    """The step, with something done before and after each of its optimizers' updates."""
    for optimizer in map(inner_optimizer, state.optimizers):

        def apply(grads: Sequence[Any], trainable_variables: Any = None, original: Any = optimizer.apply) -> Any:
            weights = list(trainable_variables or state.model.trainable_variables)
            before = [tf.identity(weight) for weight in weights]
            result = original(change(list(grads), weights), trainable_variables)
            after(weights, before)
            return result

        optimizer.apply = apply
    return _own_step(state)


def _with_loss(state: TrainState, change: Callable[[tf.Tensor, Any], tf.Tensor]) -> Step:
    """The step, with its loss changed, given what it is of."""
    original = state.model.compute_loss
    was_called = False

    def changed(x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal was_called
        was_called = True
        return change(original(x, y, *args, **kwargs), y if x is None else x)

    state.model.compute_loss = changed
    step = _own_step(state)

    def checked(*parts: Any) -> Any:
        result = step(*parts)
        if not was_called:
            raise NotApplicableError("This step does not call compute_loss().")
        return result

    return checked


def _with_setting(state: TrainState, name: str, value: float) -> Step:
    having = [one for one in map(inner_optimizer, state.optimizers) if hasattr(one, name)]
    if not having:
        raise NotApplicableError(f"No optimizer here has the setting {name}.")
    for optimizer in having:
        setattr(optimizer, name, value)
    return _own_step(state)


def _behaves_differently(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) or hasattr(layer, "seed_generator")
