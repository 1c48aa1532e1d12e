"""Inside a worker: a variant's step, forced to start from each point of the reference trajectory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from stepbench.errors import StepbenchError
from stepbench.records.cases import BUILT_IN_EXECUTIONS, EAGER, XLA, Case, Precision
from stepbench.records.verify import Agreement, Point, TensorError
from stepbench.training.executions import execution_named
from stepbench.training.fit_data import Batch
from stepbench.training.state import FLOAT64, TrainState, inner_optimizer, raw
from stepbench.training.task import Task
from stepbench.worker.comparison import compared
from stepbench.worker.forced import ForcedStep, Outcome
from stepbench.worker.reference import NO_FLOAT64
from stepbench.worker.tensors import Array, distance, short_name, tensor_error, wide
from stepbench.worker.trajectory import Target, load_header, load_targets
from stepbench.worker.twin import Fed, OptimizerTwin

MOST_ROUNDING = 10.0
"""Yardsticks by which a step that draws the same numbers may be off: as many as a judgement lets pass."""


class VariantStep:
    """One variant's step, as it is timed, and once more with its gradients seen."""

    def __init__(self, case: Case, task: Task, seed: int) -> None:
        """Build it twice, and its optimizers a third time, in float64."""
        self.case = case
        self._task = task
        self._seed = seed
        exact = self._twin_state()  # First: the data of a script is in the dtype of what was built last.
        self.timed = ForcedStep(task.build(case.variant.precision, seed, case.batch_size), case, observed=False)
        self.observed = ForcedStep(task.build(case.variant.precision, seed, case.batch_size), case, observed=True)
        self.twin = OptimizerTwin(exact, self.observed.state)

    def _twin_state(self) -> TrainState:
        """In float64, or in float32 where there is no float64 build."""
        batch_size = self.case.batch_size
        try:
            return self._task.build(FLOAT64, self._seed, batch_size)
        except NO_FLOAT64:
            return self._task.build(Precision.FLOAT32, self._seed, batch_size)

    def rehearse(self, batch: Batch) -> None:
        """Take one call of either step, so that what is made at a first call is there; an eager one makes nothing.

        Not of a user's variant: it may hide a state that cannot be put back, and its first call is to be judged.
        """
        if self.case.variant.execution in set(BUILT_IN_EXECUTIONS) - {EAGER}:
            for step in (self.timed, self.observed):
                step.rehearse(batch)

    def agree(self, folder: Path, like: Batch) -> Agreement:
        """Take a call from each point and compare it with its target.

        Args:
            folder: of the trajectory.
            like: a batch of the case, whose structure the stored ones get.

        Raises:
            StepbenchError: when the variant's model has other variables than the reference's.
        """
        header = load_header(folder)
        precision = self.case.variant.precision.value
        if precision not in header.references:
            raise StepbenchError(f"The workload's own step does not run under {precision}.")
        reference = header.references[precision]
        not_comparable = header.not_comparable
        points: list[Point] = []
        seconds: list[float] = []
        gradients_seen = True
        for target in load_targets(folder, self.case.steps_per_call, like):
            if not points and not_comparable is None and header.is_random:
                not_comparable = self._other_numbers(target, reference)
            right = None if not_comparable else target.rights[reference]
            timed = self.timed.run(target.snapshot, target.batch)
            observed = self.observed.run(target.snapshot, target.batch)
            point = self._point(target, right, timed, observed)
            # Updates of another number or kind than the reference's cannot be held against them.
            gradients_seen &= bool(observed.gradients if right is None else point.gradients)
            seconds.append(timed.seconds)
            points.append(point)
        return Agreement(
            reference=reference,
            not_comparable=not_comparable,
            gradients_seen=gradients_seen,
            step_s=min(seconds) / self.case.steps_per_call,
            points=tuple(points),
            remark=header.reasons.get(precision, ""),
        )

    def _point(self, target: Target, right: Outcome | None, timed: Outcome, observed: Outcome) -> Point:
        rounding = target.rounding[self.case.variant.precision.value]
        updates, slots = self._audit(target, right, observed)
        changed = [short_name(weight) for weight in self.timed.trained]
        if right is None:
            free = tensor_error("loss", wide(timed.loss), wide(timed.loss), 0.0)
            return Point(target.step, free, (), updates, slots, (), timed.skipped, timed.digest)
        point = compared(target.step, timed, right, rounding, target.jumps, changed=changed, observed=observed)
        return msgspec.structs.replace(point, updates=updates, slots=slots)

    def _audit(
        self, target: Target, right: Outcome | None, outcome: Outcome
    ) -> tuple[tuple[TensorError, ...], tuple[TensorError, ...]]:
        """The errors of what the optimizers made of their gradients, and of their variables after it."""
        if self.case.steps_per_call > 1 or not outcome.gradients:
            return (), ()
        self.twin.force(target.snapshot)
        updates: list[TensorError] = []
        used: dict[int, None] = {}
        for fed in self._fed(target, outcome, is_settled=right is not None and right.is_settled):
            errors, _ = self.twin.apply(fed)
            updates += errors
            used[fed.optimizer] = None
        slots: list[TensorError] = []
        for number in used:
            optimizer = inner_optimizer(self.observed.state.optimizers[number])
            slots += self.twin.slots(number, [wide(variable) for variable in optimizer.variables])
        return tuple(updates), tuple(slots)

    def _fed(self, target: Target, outcome: Outcome, *, is_settled: bool) -> list[Fed]:
        """What each optimizer was fed; of a step that updates by hand, what its tape gave, to its one optimizer.

        Where the reference leaves its weights as its optimizers make them, so has the variant to.
        """
        observer = self.observed.observer
        assert observer, "the observed step is observed"
        positions = {id(raw(weight)): number for number, weight in enumerate(self.observed.state.weights)}
        after = {id(raw(weight)): wide(raw(weight)) for weight in self.observed.trained}

        def before(weight: object) -> Array:
            return np.asarray(target.snapshot.weights[positions[id(raw(weight))]], np.float64)

        found = []
        for one in observer.done():
            starts = [wide(kept) for kept in one.before] or [before(weight) for weight in one.weights]
            kept_ends = [] if is_settled else one.after
            ends = [wide(kept) for kept in kept_ends] or [after[id(raw(weight))] for weight in one.weights]
            found.append(Fed(one.optimizer, one.weights, one.gradients(), starts, ends))
        if not found and outcome.gradients and len(self.observed.state.optimizers) == 1:
            weights = self.observed.trained
            starts = [before(weight) for weight in weights]
            found.append(Fed(0, weights, outcome.gradients, starts, [after[id(raw(weight))] for weight in weights]))
        return found

    def _other_numbers(self, target: Target, reference: str) -> str | None:
        """Why the step cannot be compared: in XLA its random numbers may be others than the reference's.

        Asked of the built-in execution, not of a variant, whose faults must not pass for other numbers.
        """
        execution = execution_named(self.case.variant.execution)
        if execution.claims != XLA:
            return None
        precision, own = self.case.variant.precision, self.observed
        if execution.name != XLA:
            state = self._task.build(precision, self._seed, self.case.batch_size)
            own = ForcedStep(state, _in_xla(self.case), observed=True)
        right, found = target.rights[reference], own.run(target.snapshot, target.batch)
        rounding = target.rounding[precision.value]
        gaps = [abs(found.loss - right.loss), *map(distance, found.gradients, right.gradients)]
        allowed = [MOST_ROUNDING * size for size in (rounding.loss, *rounding.gradients)]
        if all(gap <= most for gap, most in zip(gaps, allowed, strict=False)):
            return None
        return f"the step draws other random numbers under {precision} in XLA"


def _in_xla(case: Case) -> Case:
    variant = msgspec.structs.replace(case.variant, execution=XLA)
    return msgspec.structs.replace(case, variant=variant)
