"""A training step of your own, to be measured against the built-in ones.

    stepbench train --plugin examples/hand_written_step.py --execution raw-adam
    stepbench run --plugin examples/hand_written_step.py --execution eager,graph,raw-adam

It updates each weight with one fused kernel, where Keras' Adam takes about ten operations. The result is the same
but for rounding, under every precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

import stepbench

if TYPE_CHECKING:
    from stepbench.training.state import TrainState

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Update = Callable[[Sequence[tf.Tensor]], None]

LEFT_OUT = (
    *("amsgrad", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm"),
    *("use_ema", "loss_scale_factor", "gradient_accumulation_steps"),
)


@stepbench.variant("raw-adam", claims="graph")
def raw_adam(state: TrainState) -> Step:
    """The step for a workload that is built already, under the precision of the case."""
    weights = state.model.trainable_variables
    if isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer):  # Under mixed_float16 stepbench adds it.
        update = unless_overflown(state.optimizer, fused_adam(state.optimizer.inner_optimizer, weights))
    else:
        update = fused_adam(state.optimizer, weights)

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = state.model(x, training=True)
            loss = tf.add_n([state.loss(y, outputs), *state.model.losses])
            scaled_loss = state.optimizer.scale_loss(loss)  # As it was, but for mixed_float16.
        update(tape.gradient(scaled_loss, weights))
        # What 'stepbench train' shows.
        state.metrics.loss.update_state(loss)
        if state.metrics.accuracy is not None:
            state.metrics.accuracy.update_state(y, outputs)
        return loss

    # stepbench calls a step as it is, so compile it here. Each measurement checks the claim made above.
    compiled: Step = tf.function(step, autograph=False)
    return compiled


def fused_adam(adam: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]) -> Update:
    """Adam's update of all weights, in the optimizer's own variables: others would not be reset between timings."""
    # A step that quietly did something else than the optimizer would win any comparison.
    if type(adam) is not keras.optimizers.Adam or any(getattr(adam, option) for option in LEFT_OUT):
        raise stepbench.StepbenchError(f"raw-adam is plain Adam: use it without {', '.join(LEFT_OUT)}.")
    slots = adam.variables[-2 * len(weights) :]  # Both moments of the first weight, of the second, ...

    def update(gradients: Sequence[tf.Tensor]) -> None:
        step = tf.cast(adam.iterations + 1, tf.float32)
        beta_1_power, beta_2_power = adam.beta_1**step, adam.beta_2**step
        for weight, mean, variance, gradient in zip(weights, slots[0::2], slots[1::2], gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.value.handle,
                m=mean.value.handle,
                v=variance.value.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=tf.convert_to_tensor(adam.learning_rate),
                beta1=adam.beta_1,
                beta2=adam.beta_2,
                epsilon=adam.epsilon,
                grad=gradient,
            )
        adam.iterations.assign_add(1)

    return update


def unless_overflown(scaler: keras.optimizers.LossScaleOptimizer, update: Update) -> Update:
    """An update by gradients of the scaled loss. Where one overflowed, no weight changes and the scale is halved."""
    scale, good_steps = scaler.dynamic_scale, scaler.step_counter

    def scaled_update(gradients: Sequence[tf.Tensor]) -> None:
        def proceed() -> None:
            update([gradient / scale for gradient in gradients])
            good_steps.assign((good_steps + 1) % scaler.dynamic_growth_steps)
            scale.assign(tf.where(good_steps == 0, scale * 2, scale))

        def back_off() -> None:
            scale.assign(scale / 2)
            good_steps.assign(0)

        finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
        tf.cond(tf.reduce_all(finite), proceed, back_off)

    return scaled_update
