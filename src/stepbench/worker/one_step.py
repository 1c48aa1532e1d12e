"""Inside a worker: a variant's step, forced to start from each point of the reference trajectory."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from stepbench.records.cases import XLA, Case, Precision
from stepbench.records.verify import Agreement, Point, TensorError
from stepbench.training.step import TrainState, build_state
from stepbench.training.variants import build_call, execution_named
from stepbench.training.workload import Dataset, Workload
from stepbench.worker.drawing import drawing_of
from stepbench.worker.gradients import GradientRecorder
from stepbench.worker.reference_step import Array, is_random, relative_error, statistics_of, wide
from stepbench.worker.trajectory import (
    UNIT_ROUNDOFF,
    Target,
    Trajectory,
    batch_at,
    check_same_variables,
    inner_optimizer,
)

MAX_SKIPPED = 24
"""Dynamic loss scaling begins at 2^15 and halves at each overflow."""
SAME_NUMBERS = 20.0
"""By how many yardsticks two losses may differ at most whose random layers drew the same numbers."""
FINITE_WILL_DO = sys.float_info.max
"""The yardstick of what has nothing to be compared with. Not infinite: JSON has no word for that."""
UPDATE_ROUNDINGS = 64 * UNIT_ROUNDOFF[Precision.FLOAT32]
"""What computing an update in float32 may add: 1 - beta, say, loses ten bits when beta is kept in float32."""


@dataclass(frozen=True)
class Outcome:
    """What one step did."""

    loss: float
    gradients: list[Array] | None
    weights: list[Array]
    slots: list[Array]
    statistics: list[Array]
    skipped: int
    seconds: float


class VariantStep:
    """One variant's step at one step a call, with its state; its gradients can be seen."""

    def __init__(self, case: Case, workload: Workload, dataset: Dataset, seed: int) -> None:
        self.case = msgspec.structs.replace(case, steps_per_call=1)
        self.state = build_state(workload, case.variant.precision, seed)
        self._drawing = drawing_of(case.variant.precision, xla=execution_named(case.variant.execution).claims == XLA)
        self._dataset = dataset
        self._recorder = GradientRecorder(self.state)
        self.step = build_call(self.state, self.case)
        self._twin = OptimizerTwin(workload, self.state)

    def agree(self, trajectory: Trajectory) -> Agreement:
        """Take one step from each point and compare it with its target.

        Raises:
            StepbenchError: when the variant's model has other variables than the reference's.
        """
        check_same_variables(self.state, trajectory.targets[0])
        not_comparable = self._not_comparable(trajectory)
        outcomes = [self._step_from(target) for target in trajectory.targets]
        points = [
            self._compare(target, outcome, comparable=not_comparable is None)
            for target, outcome in zip(trajectory.targets, outcomes, strict=True)
        ]
        return Agreement(
            reference=trajectory.reference,
            not_comparable=not_comparable,
            gradients_seen=all(outcome.gradients is not None for outcome in outcomes),
            step_s=min(outcome.seconds for outcome in outcomes),
            points=tuple(points),
        )

    def force(self, target: Target) -> None:
        """Put the variant into the target's state. The loss scale, which the reference has not, stays."""
        optimizer = inner_optimizer(self.state)
        for variable, value in zip(self.state.model.variables, target.model, strict=True):
            variable.assign(value)
        for variable, value in zip(optimizer.variables, target.optimizer, strict=True):
            variable.assign(value)
        self.state.metrics.reset()
        self.state.model.reset_metrics()

    def _step_from(self, target: Target) -> Outcome:
        x, y = batch_at(self._dataset, target.step, self.case.batch_size)
        before = [value for value in target.model if value.dtype.kind == "f"]
        for skipped in range(MAX_SKIPPED):  # noqa: B007 - the last one is stored.
            self.force(target)
            self._recorder.begin()
            started = time.perf_counter()
            loss = float(self.step(x, y))
            seconds = time.perf_counter() - started
            weights = [wide(variable.value) for variable in self.state.model.trainable_variables]
            scaled = isinstance(self.state.optimizer, keras.optimizers.LossScaleOptimizer)
            # Loss scaling that overflows leaves the weights as they were and tries a smaller scale.
            if not scaled or not _all_found_in(weights, before):
                break
        return Outcome(
            loss=loss,
            gradients=self._recorder.gradients(),
            weights=weights,
            slots=[wide(variable.value) for variable in inner_optimizer(self.state).variables],
            statistics=statistics_of(self.state.model),
            skipped=skipped,
            seconds=seconds,
        )

    def _compare(self, target: Target, outcome: Outcome, *, comparable: bool) -> Point:
        right = target.right(self._drawing)
        loss_yard, *yards = target.yardsticks[self.case.variant.precision]
        loss_jump, *jumps = target.jumps
        names = [_short(variable) for variable in self.state.model.trainable_variables]
        updates, slots = self._twin.compare(target, outcome, names) if outcome.gradients else ((), ())
        seen = outcome.gradients if comparable and outcome.gradients else []
        found = outcome.statistics if comparable else []
        labels = [f"statistic {number}" for number in range(len(found))]
        return Point(
            step=target.step,
            loss=tensor_error(
                "loss",
                np.asarray(outcome.loss),
                np.asarray(right.loss),
                loss_yard if comparable else FINITE_WILL_DO,
                loss_jump,
            ),
            gradients=tuple(map(tensor_error, names, seen, right.gradients, yards, jumps)),
            updates=updates,
            slots=slots,
            statistics=tuple(
                map(
                    tensor_error,
                    labels,
                    found,
                    right.statistics,
                    yards[len(right.gradients) :],
                    jumps[len(right.gradients) :],
                )
            ),
            skipped=outcome.skipped,
            digest=_digest(outcome.weights),
        )

    def _not_comparable(self, trajectory: Trajectory) -> str | None:
        """Why the step cannot be compared with its target: random layers that draw other numbers here.

        Asked of our own forward pass in the variant's precision, not of the variant's step.
        """
        if not is_random(self.state.model):
            return None
        target = trajectory.targets[0]
        self.force(target)
        x, y = batch_at(self._dataset, target.step, self.case.batch_size)

        def forward() -> tf.Tensor:
            return tf.add_n([self.state.loss(y, self.state.model(x, training=True)), *self.state.model.losses])

        xla = execution_named(self.case.variant.execution).claims == XLA
        loss = float(tf.function(forward, jit_compile=xla, autograph=False)())
        precision = self.case.variant.precision
        if abs(loss / target.right(self._drawing).loss - 1) <= SAME_NUMBERS * target.yardsticks[precision][0]:
            return None
        return f"the model's random layers draw other numbers under {precision}{' in XLA' if xla else ''}"


class OptimizerTwin:
    """The workload's optimizer in float64: what it makes of a variant's own gradients."""

    def __init__(self, workload: Workload, state: TrainState) -> None:
        self._optimizer = workload.optimizer()
        keras.config.set_dtype_policy("float64")
        self._weights = [
            keras.Variable(variable.value, dtype="float64", name=variable.name)
            for variable in state.model.trainable_variables
        ]
        keras.config.set_dtype_policy("float32")
        self._optimizer.build(self._weights)
        positions = {id(variable): index for index, variable in enumerate(state.model.variables)}
        self._positions = [positions[id(variable)] for variable in state.model.trainable_variables]

    def compare(
        self, target: Target, outcome: Outcome, names: Sequence[str]
    ) -> tuple[tuple[TensorError, ...], tuple[TensorError, ...]]:
        """The errors of the weights' change and of the optimizer's variables."""
        assert outcome.gradients is not None, "asked only where gradients were seen"
        before = [target.model[position].astype(np.float64) for position in self._positions]
        for variable, value in zip(self._weights, before, strict=True):
            variable.assign(value)
        for variable, value in zip(self._optimizer.variables, target.optimizer, strict=True):
            variable.assign(value)
        self._optimizer.apply([tf.constant(gradient) for gradient in outcome.gradients], self._weights)
        updates = [wide(variable.value) - start for variable, start in zip(self._weights, before, strict=True)]
        mine = [after - start for after, start in zip(outcome.weights, before, strict=True)]
        yards = map(_update_yardstick, outcome.weights, updates)
        slots = [wide(variable.value) for variable in self._optimizer.variables]
        slot_names = [variable.name for variable in self._optimizer.variables]
        slot_yards = [UPDATE_ROUNDINGS] * len(slots)
        return (
            tuple(map(tensor_error, names, mine, updates, yards)),
            tuple(map(tensor_error, slot_names, outcome.slots, slots, slot_yards)),
        )


def tensor_error(name: str, mine: Array, right: Array, yardstick: float, jump: float = 0.0) -> TensorError:
    """How ``mine`` differs from ``right``."""
    if not np.all(np.isfinite(mine)):
        return TensorError(name, None, None, float(yardstick), float(jump))
    lengths = float(np.linalg.norm(mine)), float(np.linalg.norm(right))
    ratio = math.log(lengths[0] / lengths[1]) if all(lengths) else None
    return TensorError(name, relative_error(mine, right), ratio, float(yardstick), float(jump))


def _update_yardstick(weights: Array, update: Array) -> float:
    """Storing a weight in float32 rounds it, and its change is small beside it."""
    stored = UNIT_ROUNDOFF[Precision.FLOAT32] * float(np.linalg.norm(weights))
    return UPDATE_ROUNDINGS + stored / (float(np.linalg.norm(update)) or 1.0)


def _all_found_in(weights: Sequence[Array], before: Sequence[Any]) -> bool:
    return all(any(np.array_equal(weight, value) for value in before) for weight in weights)


def _digest(weights: Sequence[Array]) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()[:16]


def _short(variable: keras.Variable) -> str:
    """``conv2d_1/kernel``: the layer and the variable, without the model's name."""
    return "/".join(variable.path.split("/")[-2:])
