"""Inside a worker: the reference trajectory, and what one step from its points should do.

The reference step is the workload's own model, built in float64. How far honest rounding may lead away from it is
measured, not assumed: inputs, weights and outputs are perturbed at random by the relative size of a precision's
rounding, forward and backward, and the step's response is the yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import GRAPH, Case, Device, Precision, Variant
from stepbench.training.step import TrainState, build_state
from stepbench.training.variants import build_call
from stepbench.training.workload import Dataset, Workload
from stepbench.worker.drawing import DRAWINGS, USUAL
from stepbench.worker.reference_step import Array, ReferenceStep, State, StepResult

UNIT_ROUNDOFF = {Precision.FLOAT32: 2.0**-24, Precision.MIXED_BFLOAT16: 2.0**-8, Precision.MIXED_FLOAT16: 2.0**-11}
PERTURBATIONS = (UNIT_ROUNDOFF[Precision.MIXED_BFLOAT16], UNIT_ROUNDOFF[Precision.MIXED_FLOAT16])
"""The sizes tried. float32's is too small to stand out in float32 itself; the smaller of these is scaled down to it,
as small perturbations act in proportion."""


@dataclass(frozen=True)
class Target:
    """A point of the trajectory, and what a step from it should do."""

    step: int
    model: State
    """All of the model's variables before the step."""
    optimizer: State
    """All of the optimizer's variables before the step."""
    rights: dict[str, StepResult]
    """By how the variant draws random numbers (see :mod:`stepbench.worker.drawing`); all alike under ``""``."""
    yardsticks: dict[Precision, Array]
    """The :meth:`StepResult.errors` that honest rounding brings about."""

    @property
    def jumps(self) -> Array:
        """The errors that rounding brings about where it tips a unit over, whatever the precision.

        Perturbations of float16's size tip some at every point; rounding in float32 tips one at a point in a hundred.
        """
        return self.yardsticks[Precision.MIXED_FLOAT16]

    def right(self, drawing: str = USUAL) -> StepResult:
        """What the step of a variant should do that draws random numbers in this way."""
        return self.rights.get(drawing, self.rights[USUAL])


@dataclass(frozen=True)
class Trajectory:
    """The targets, and the dtype that they were computed in."""

    reference: str
    targets: list[Target]

    def save(self, path: Path) -> None:
        """Write to ``path`` in NumPy's format without pickles."""
        arrays: dict[str, Any] = {"reference": self.reference, "steps": [target.step for target in self.targets]}
        for index, target in enumerate(self.targets):
            lists: dict[str, Sequence[Any]] = {
                "model": target.model,
                "optimizer": target.optimizer,
                "yardsticks": [target.yardsticks[precision] for precision in Precision],
            }
            for drawing, right in target.rights.items():
                lists[f"{drawing}/loss"] = [right.loss]
                lists[f"{drawing}/gradients"] = right.gradients
                lists[f"{drawing}/statistics"] = right.statistics
            for name, values in lists.items():
                arrays |= {f"{index}/{name}/{number}": value for number, value in enumerate(values)}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            lists: dict[str, State] = {}
            for key in stored.files:  # In the order of writing.
                lists.setdefault(key.rpartition("/")[0], []).append(stored[key])
            steps = [int(step) for step in stored["steps"]]
            targets = []
            for index, step in enumerate(steps):
                of = {name: lists.get(f"{index}/{name}", []) for name in ("model", "optimizer", "yardsticks")}
                rights = {
                    drawing: StepResult(
                        float(lists[f"{index}/{drawing}/loss"][0]),
                        lists.get(f"{index}/{drawing}/gradients", []),
                        lists.get(f"{index}/{drawing}/statistics", []),
                    )
                    for drawing in (USUAL, *DRAWINGS)
                    if f"{index}/{drawing}/loss" in lists
                }
                yardsticks = dict(zip(Precision, of["yardsticks"], strict=True))
                targets.append(Target(step, of["model"], of["optimizer"], rights, yardsticks))
            return cls(str(stored["reference"]), targets)


def make_trajectory(
    workload: Workload, dataset: Dataset, batch_size: int, seed: int, points: Sequence[int]
) -> Trajectory:
    """Train in graph/float32 and note, at each of ``points``, the state and what one step from it should do.

    Raises:
        StepbenchError: when a step of the reference is not finite.
    """
    states = _states_at(workload, dataset, batch_size, seed, points)
    reference = ReferenceStep(workload, seed)
    targets = []
    for step, model, optimizer in states:
        batch = batch_at(dataset, step, batch_size)
        rights = {drawing: reference.run(model, batch, drawing=drawing) for drawing in reference.drawings}
        if not all(right.is_finite for right in rights.values()):
            raise StepbenchError(
                f"The reference's own step is NaN or infinite after {step} steps: verify a workload that trains."
            )
        right = rights[USUAL]
        yardsticks = _yardsticks({size: reference.response(model, batch, right, size) for size in PERTURBATIONS})
        targets.append(Target(step, model, optimizer, rights, yardsticks))
    return Trajectory(reference.dtype, targets)


def batch_at(dataset: Dataset, step: int, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The batch of a step of the trajectory, in the published order; a small set goes round again."""
    rows = np.arange(step * batch_size, (step + 1) * batch_size) % len(dataset.x_train)
    return tf.constant(dataset.x_train[rows]), tf.constant(dataset.y_train[rows])


def _states_at(
    workload: Workload, dataset: Dataset, batch_size: int, seed: int, points: Sequence[int]
) -> list[tuple[int, State, State]]:
    state = build_state(workload, Precision.FLOAT32, seed)
    case = Case(workload.name, Variant(GRAPH, Precision.FLOAT32), Device.CPU, batch_size)
    step_once = build_call(state, case)
    states = []
    for step in range(max(points) + 1):
        if step in points:
            model = [variable.numpy() for variable in state.model.variables]
            states.append((step, model, [variable.numpy() for variable in state.optimizer.variables]))
        step_once(*batch_at(dataset, step, batch_size))
    return states


def _yardsticks(responses: dict[float, Array]) -> dict[Precision, Array]:
    yardsticks = {}
    for precision, size in UNIT_ROUNDOFF.items():
        tried = max(size, min(responses))
        yardsticks[precision] = responses[tried] * (size / tried)
        # Every precision keeps loss, statistics and the gradients of float32 weights in float32.
        yardsticks[precision] += UNIT_ROUNDOFF[Precision.FLOAT32]
    return yardsticks


def inner_optimizer(state: TrainState) -> keras.optimizers.Optimizer:
    """The optimizer itself, without the loss scaling around it."""
    if isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer):
        return state.optimizer.inner_optimizer
    return state.optimizer


def check_same_variables(state: TrainState, target: Target) -> None:
    """Refuse to force a state upon a model that has other variables.

    Raises:
        StepbenchError: when the variables differ in number or shape.
    """
    mine = [tuple(variable.shape) for variable in (*state.model.variables, *inner_optimizer(state).variables)]
    if mine != [value.shape for value in (*target.model, *target.optimizer)]:
        raise StepbenchError("The model has other variables than the reference's, so their steps cannot be compared.")
