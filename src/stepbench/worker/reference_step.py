"""Inside a worker: what a step should do, from the workload's own model in float64, and how perturbations change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.training.workload import Workload
from stepbench.worker.drawing import DRAWINGS, USUAL, drawn_as

Array = NDArray[np.float64]
State = list[NDArray[Any]]

NO_FLOAT64 = (TypeError, ValueError, tf.errors.OpError)
"""What a model raises that fixes a dtype inside, when it is built or when it runs."""
DRAWS = 3
"""Random perturbations of each size."""


@dataclass(frozen=True)
class StepResult:
    """What one step computes."""

    loss: float
    gradients: list[Array]
    statistics: list[Array]
    """Variables that are not trained, after the step."""

    @property
    def is_finite(self) -> bool:
        """Whether nothing of it is NaN or infinite."""
        values = [np.asarray(self.loss), *self.gradients, *self.statistics]
        return all(bool(np.all(np.isfinite(value))) for value in values)

    def errors(self, right: StepResult) -> Array:
        """The relative errors of the loss, each gradient and each statistic, one after the other."""
        pairs = zip([*self.gradients, *self.statistics], [*right.gradients, *right.statistics], strict=True)
        return np.array([abs(self.loss / right.loss - 1), *(relative_error(mine, other) for mine, other in pairs)])


class ReferenceStep:
    """The workload's forward and backward pass in the widest dtype that it can be built in."""

    def __init__(self, workload: Workload, seed: int) -> None:
        self._workload = workload
        self._seed = seed
        try:
            self._build("float64")
        except NO_FLOAT64:
            self._build("float32")
        if draws_noise(self._model):  # Which would be other noise in another dtype.
            self._build("float32")

    @property
    def drawings(self) -> tuple[str, ...]:
        """In which ways variants may draw the random numbers of the model: only one matters if it has none."""
        return (USUAL, *DRAWINGS) if is_random(self._model) else (USUAL,)

    def _build(self, dtype: str) -> None:
        self.dtype = dtype
        keras.utils.set_random_seed(self._seed)
        keras.config.set_dtype_policy(dtype)
        keras.config.set_floatx(dtype)
        try:
            self._model = self._workload.model()
            for layer in layers_of(self._model):
                # A layer fixed to float32, to end a mixed model, would round; one with weights keeps its dtype.
                if not layer.weights:
                    layer.dtype_policy = dtype
            self._loss = self._workload.loss()
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
        self._compiled = {drawing: tf.function(self._step, autograph=False) for drawing in (USUAL, *DRAWINGS)}

    def run(
        self,
        model: State,
        batch: tuple[tf.Tensor, tf.Tensor],
        size: float = 0.0,
        draw: int = 0,
        drawing: str = USUAL,
    ) -> StepResult:
        """One step from the state ``model``, perturbed by a relative ``size``, its dropout drawn as a variant does.

        Some models fix a dtype inside, so that they cannot run in float64: the step is then float32 from here on.
        """
        try:
            self._force(model, size, draw)
            with drawn_as(drawing):
                loss, gradients = self._compiled[drawing](*batch, tf.constant(size, self.dtype), tf.constant(draw))
        except NO_FLOAT64:
            if self.dtype == "float32":
                raise
            self._build("float32")
            return self.run(model, batch, size, draw, drawing)
        return StepResult(float(loss), [wide(gradient) for gradient in gradients], statistics_of(self._model))

    def response(self, model: State, batch: tuple[tf.Tensor, tf.Tensor], right: StepResult, size: float) -> Array:
        """The root mean square, over random draws, of the errors that perturbations of ``size`` cause."""
        draws = [self.run(model, batch, size, draw).errors(right) for draw in range(1, DRAWS + 1)]
        root: Array = np.sqrt(np.mean(np.square(draws), axis=0))
        return root

    def _force(self, model: State, size: float, draw: int) -> None:
        random = np.random.default_rng(draw)
        trained = {id(variable) for variable in self._model.trainable_variables}
        for variable, value in zip(self._model.variables, model, strict=True):
            noise = 1 + size * random.uniform(-1, 1, value.shape) if id(variable) in trained else 1.0
            variable.assign(value.astype(self.dtype) * noise if value.dtype.kind == "f" else value)

    def _step(self, x: tf.Tensor, y: tf.Tensor, size: tf.Tensor, draw: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        inputs = _perturbed(tf.cast(x, self.dtype), size, draw, salt=0) if x.dtype.is_floating else x
        with tf.GradientTape() as tape:
            # A last layer with weights may be fixed to float32.
            outputs = _perturbed(tf.cast(self._model(inputs, training=True), self.dtype), size, draw, salt=2)
            loss = tf.add_n([self._loss(y, outputs), *self._model.losses])
        weights = self._model.trainable_variables
        return loss, tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _perturbed(tensor: tf.Tensor, size: tf.Tensor, draw: tf.Tensor, salt: int) -> tf.Tensor:
    """Each element times 1 + ``size`` · U(-1, 1), and likewise its gradient on the way back."""

    def noise(direction: int) -> tf.Tensor:
        seed = tf.stack([draw, salt + direction])
        return 1 + size * tf.random.stateless_uniform(tf.shape(tensor), seed, -1, 1, tensor.dtype)

    def perturb(value: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return value * noise(0), lambda upstream: upstream * noise(1)

    return tf.custom_gradient(perturb)(tensor)


def is_random(model: keras.Model) -> bool:
    """Whether the model draws random numbers while training, as dropout does."""
    return any(hasattr(layer, "seed_generator") for layer in layers_of(model))


def draws_noise(model: keras.Model) -> bool:
    """Whether it draws other random numbers than dropout's, which cannot be drawn as a variant draws them."""
    return any(
        hasattr(layer, "seed_generator") and not isinstance(layer, keras.layers.Dropout) for layer in layers_of(model)
    )


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers, nested ones too."""
    return list(model._flatten_layers(include_self=False))  # noqa: SLF001 - Keras offers no public walk.


def statistics_of(model: keras.Model) -> list[Array]:
    """The model's floating-point variables that are not trained, such as moving averages."""
    return [wide(variable.value) for variable in model.non_trainable_variables if "float" in variable.dtype]


def relative_error(mine: Array, right: Array) -> float:
    """Norm of the difference over the norm of the right one; the difference itself where that is zero."""
    return float(np.linalg.norm(mine - right) / (np.linalg.norm(right) or 1.0))


def wide(tensor: tf.Tensor) -> Array:
    """A tensor's value in float64, dense."""
    return np.asarray(tf.convert_to_tensor(tensor).numpy(), np.float64)
