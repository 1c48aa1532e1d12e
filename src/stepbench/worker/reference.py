"""Inside a worker: the reference trajectory, and what a step from its points should do.

The reference is the workload's own step, built under a float64 policy. What honest rounding does to it is measured, not
assumed: the same step built under a precision, and run from weights that are changed at random by the relative size of
its rounding, shows how far rounding leads away. Where the step draws random numbers that are others in float64, or does
something else there beyond rounding, a precision is its own reference, and free-running training has to tell the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, Case, Device, Precision, Variant
from stepbench.records.verify import Point
from stepbench.training.feed import stacked
from stepbench.training.fit_data import Batch, Enough
from stepbench.training.state import FLOAT64, TrainState, policy_of, raw, widened
from stepbench.training.task import Task
from stepbench.worker.comparison import compared
from stepbench.worker.forced import ForcedStep, Outcome, Snapshot
from stepbench.worker.tensors import distance, short_name
from stepbench.worker.trajectory import Allowance, Target, TrajectoryHeader, load_targets, save_header, save_target

UNIT_ROUNDOFF = {Precision.FLOAT32: 2.0**-24, Precision.MIXED_BFLOAT16: 2.0**-8, Precision.MIXED_FLOAT16: 2.0**-11}
TIPPING = UNIT_ROUNDOFF[Precision.MIXED_FLOAT16]
"""A change of weights that tips some unit or maximum over at every point; rounding in float32 tips one in a hundred."""
DRAWS = 2
"""Random changes of each size."""
SAME_NUMBERS = 20.0
"""By how much of what rounding does two steps may differ at most that draw the same numbers and do the same."""
TIPPED = 0.01
"""The share of a gradient beyond which a difference is not of a few units that were tipped over."""
REPEATED = 1e-4
"""By which share of their length the gradients of one step taken twice may differ: sums may be made in any order."""
TAKEN = "taken"
"""In place of a reference: what a case did as it trained."""
OTHER_NUMBERS = "the step draws other random numbers in float64"
OTHER_STEP = "in float64 the workload's own step does something else, beyond rounding"
NO_FLOAT64 = Exception
"""What a step raises that fixes a dtype inside, when it is built or when it runs: users' code may raise anything, and
what is wrong in float32 too is told of that."""


class ReferenceMaker:
    """Makes the targets of a group of cases: of each precision and number of steps a call that these have."""

    def __init__(self, task: Task, cases: Sequence[Case], seed: int) -> None:
        """Build the workload in every precision that is needed."""
        self._task = task
        self._batch_size = cases[0].batch_size
        self._seed = seed
        self._precisions = sorted({case.variant.precision for case in cases} | {Precision.FLOAT32})
        self._calls = sorted({case.steps_per_call for case in cases})
        # float64 comes first: the data of a script is in the dtype of what was built last.
        self._exact = {k: self._float64(k) for k in self._calls}
        self._steps = {(name, k): self._step(name, k) for name in self._precisions for k in self._calls}
        self._like: dict[int, Batch] = {}
        self._initial = self._steps[Precision.FLOAT32, self._calls[0]].snapshot()

    def make(self, points: Sequence[int], folder: Path) -> TrajectoryHeader:
        """Write the targets at ``points`` of the trajectory.

        Raises:
            StepbenchError: when the reference's own step is not finite.
        """
        self._header: TrajectoryHeader | None = None
        self._references: dict[str, str] = {}
        for k in self._calls:
            wanted = points if k == 1 else points[: len(points) // 2 + 1 : max(1, len(points) // 2)]
            self._each_point(wanted, k, functools.partial(self._save, k, folder))
        assert self._header, "there is a point"
        save_header(self._header, folder)
        return self._header

    def _save(self, k: int, folder: Path, step: int, snapshot: Snapshot, batch: Batch) -> None:
        if self._header is None:
            self._header = self._looked_at(snapshot, batch, k)
            self._references = self._header.references
        target = self._target(step, k, snapshot, batch, self._precisions)
        for reference, right in target.rights.items():
            if not right.is_finite:
                raise StepbenchError(
                    f"The reference's own step in {reference} is NaN or infinite after {step} steps: "
                    "verify a workload that trains."
                )
        save_target(target, folder)

    def recompute(self, case: Case, folder: Path) -> tuple[Point, ...]:
        """Hold steps that a case took as it trained against what the reference does from there.

        Args:
            case: of the trajectory's cases.
            folder: with the steps, as the case's worker left them.

        Returns:
            Their errors; nothing of those where the reference's own step, or what rounding does to it, is not finite.
        """
        precision, k = case.variant.precision, case.steps_per_call
        reference = self._references[precision.value]
        needed = [name for name in self._precisions if name.value in (precision, reference)]
        names = [short_name(weight) for weight in self._steps[precision, k].trained]
        points = []
        if k not in self._like:
            self._like[k] = stacked(self._task.feed.take(k, self._batch_size))
        for taken in load_targets(folder, k, self._like[k]):
            target = self._target(taken.step, k, taken.snapshot, taken.batch, needed)
            right, found, rounding = target.rights[reference], taken.rights[TAKEN], target.rounding[precision.value]
            if right.is_finite and rounding.is_finite and target.jumps.is_finite:
                # What an optimizer makes of a gradient that is zero but for rounding may be a whole step, to either
                # side. Where gradients are compared, the audit has seen that the update is what it makes of them.
                changed = names if k > 1 or not found.gradients else ()
                points.append(compared(taken.step, found, right, rounding, target.jumps, changed=changed))
        return tuple(points)

    def _step(self, policy: str, k: int) -> ForcedStep:
        precision = Precision.FLOAT32 if policy == FLOAT64 else Precision(policy)
        state = self._task.build(policy, self._seed, self._batch_size)
        return ForcedStep(state, self._case(state, precision, k), observed=True)

    def _case(self, state: TrainState, precision: Precision, k: int) -> Case:
        """How the reference is executed: as a graph, which is eager's step and faster, where it can be one."""
        execution = GRAPH if state.is_traceable else EAGER
        return Case("reference", Variant(execution, precision), Device.CPU, self._batch_size, k)

    def _float64(self, k: int) -> ForcedStep | None:
        """The step in float64; None where it cannot be built so."""
        try:
            return self._step(FLOAT64, k)
        except NO_FLOAT64:
            return None

    def _each_point(self, points: Sequence[int], k: int, take: Callable[[int, Snapshot, Batch], None]) -> None:
        """Train in float32; ``take`` is given each point: how many steps lead there, its state, the next batch."""
        train = self._steps.get((Precision.FLOAT32, 1)) or self._step(Precision.FLOAT32, 1)
        train.force(self._initial)
        begun: dict[int, tuple[Snapshot, list[Batch]]] = {}
        step = 0

        def visit(batch: Batch) -> None:
            nonlocal step
            if step in points:
                begun[step] = train.snapshot(), []
            for start, (snapshot, batches) in list(begun.items()):
                batches.append(batch)
                if len(batches) == k:
                    del begun[start]
                    here = train.snapshot()
                    take(start, snapshot, stacked(batches))
                    train.force(here)
            if not begun and step >= max(points):
                raise Enough
            train.call(batch)
            step += 1

        self._task.feed.each(self._batch_size, visit)

    def _looked_at(self, snapshot: Snapshot, batch: Batch, k: int) -> TrajectoryHeader:
        """Find out whether the step is random, and which reference each precision can be held against."""
        usual = self._steps[Precision.FLOAT32, k]
        first, again = usual.run(snapshot, batch), usual.run(snapshot, batch)
        own = {name: found for name in self._precisions if (found := self._rounding_of(name, k, snapshot, batch))}
        self._precisions = sorted(own)
        if not _is_repeated(first, again):
            reason = "the step draws random numbers, or keeps a state, that no seed reaches"
            return TrajectoryHeader({name.value: name.value for name in self._precisions}, {}, reason, is_random=True)
        is_random = self._is_random(usual, snapshot, batch, first, own[Precision.FLOAT32])
        references: dict[str, str] = {}
        reasons: dict[str, str] = {}
        exact = self._run_exactly(snapshot, batch, k)
        for name in self._precisions:
            reference, reason = FLOAT64, ""
            if exact is None:
                reference, reason = Precision.FLOAT32, "there is no float64 build of the step"
            elif is_random and _differ_anywhere(first, exact, own[Precision.FLOAT32]):
                reference, reason = name, OTHER_NUMBERS
            elif _differ(first, exact, own[Precision.FLOAT32]):  # Whose rounding hides nothing.
                reference, reason = name, OTHER_STEP
            references[name.value] = str(reference)
            reasons |= {name.value: reason} if reason else {}
        return TrajectoryHeader(references, reasons, None, is_random)

    def _is_random(
        self, step: ForcedStep, snapshot: Snapshot, batch: Batch, first: Outcome, rounding: Allowance
    ) -> bool:
        """Whether the step does something else with other seeds."""
        try:
            return _differ_anywhere(first, step.run(_reseeded(snapshot, step), batch), rounding)
        except tf.errors.OpError:  # An integer that is no seed but a place in a table, say, may have no next one.
            return False

    def _run_exactly(
        self, snapshot: Snapshot, batch: Batch, k: int, size: float = 0.0, draw: int = 0
    ) -> Outcome | None:
        """A call in float64; None where some layer or function fixes a dtype that does not fit."""
        step = self._exact[k]
        if step is None:
            return None
        try:
            with policy_of(FLOAT64):
                return step.run(snapshot, widened(batch), size, draw)
        except NO_FLOAT64:
            self._exact[k] = None
            return None

    def _still_exactly(self, snapshot: Snapshot, batch: Batch, k: int, size: float = 0.0, draw: int = 0) -> Outcome:
        """A call in float64 of a step that has run in it before."""
        exact = self._run_exactly(snapshot, batch, k, size, draw)
        if exact is None:
            raise StepbenchError(
                "The workload's own step ran in float64 at first, and then did not any more: "
                "verify a workload whose step is the same for every batch."
            )
        return exact

    def _rounding_of(self, name: Precision, k: int, snapshot: Snapshot, batch: Batch) -> Allowance | None:
        """How far honest rounding leads away from the precision's own result; None where the step cannot run in it."""
        step = self._steps[name, k]
        try:
            right = step.run(snapshot, batch)
        except Exception:
            if name is Precision.FLOAT32:
                raise
            return None  # The cases in it fail by themselves, and tell.
        draws = [step.run(snapshot, batch, UNIT_ROUNDOFF[name], draw) for draw in range(1, DRAWS + 1)]
        return _spread(draws, right, UNIT_ROUNDOFF[Precision.FLOAT32])

    def _target(self, step: int, k: int, snapshot: Snapshot, batch: Batch, precisions: Sequence[Precision]) -> Target:
        references = {name: self._references[name.value] for name in precisions}
        rights: dict[str, Outcome] = {}
        if FLOAT64 in references.values():
            rights[FLOAT64] = self._still_exactly(snapshot, batch, k)
        rounding = {}
        for name in precisions:  # float32 comes first, and may be the reference of others.
            variant = self._steps[name, k]
            own = variant.run(snapshot, batch)
            right = rights.setdefault(references[name], own)
            draws = [variant.run(snapshot, batch, UNIT_ROUNDOFF[name], draw) for draw in range(1, DRAWS + 1)]
            rounding[name.value] = _spread([own, *draws], right, UNIT_ROUNDOFF[Precision.FLOAT32])
        return Target(step, k, snapshot, batch, rights, rounding, self._jumps(snapshot, batch, k, rights))

    def _jumps(self, snapshot: Snapshot, batch: Batch, k: int, rights: dict[str, Outcome]) -> Allowance:
        if FLOAT64 in rights:
            draws = [self._still_exactly(snapshot, batch, k, TIPPING, draw) for draw in range(1, DRAWS + 1)]
            return _spread(draws, rights[FLOAT64], 0.0)
        step = self._steps[Precision.FLOAT32, k]
        draws32 = [step.run(snapshot, batch, TIPPING, draw) for draw in range(1, DRAWS + 1)]
        return _spread(draws32, step.run(snapshot, batch), 0.0)


def _spread(draws: Sequence[Outcome], right: Outcome, storing: float) -> Allowance:
    """Root mean square distances of the draws from what is right; ``storing`` is what every result is rounded to."""

    def root(distances: Sequence[float], size: float) -> float:
        return float(np.sqrt(np.mean(np.square(distances)))) + storing * size

    def each(part: str) -> list[float]:
        rights = getattr(right, part)
        tensors = [getattr(draw, part) for draw in draws]
        return [
            root([distance(tensor[index], rights[index]) for tensor in tensors], distance(rights[index], None))
            for index in range(len(rights))
            if all(len(tensor) == len(rights) for tensor in tensors)
        ]

    loss = root([abs(draw.loss - right.loss) for draw in draws], abs(right.loss))
    return Allowance(loss, each("gradients"), each("changes"), each("statistics"))


def _is_repeated(one: Outcome, other: Outcome) -> bool:
    """Whether a step from one state did the same twice.

    Not asked of what rounding does, which is measured by running the step again, and so holds its random numbers.
    """
    size = float(np.linalg.norm([distance(gradient, None) for gradient in one.gradients]))
    if not size:
        return abs(one.loss - other.loss) <= REPEATED * abs(one.loss)
    gaps = [distance(mine, theirs) for mine, theirs in zip(one.gradients, other.gradients, strict=True)]
    return float(np.linalg.norm(gaps)) <= REPEATED * size


def _differ(one: Outcome, other: Outcome, rounding: Allowance) -> bool:
    """Whether two steps from one state drew other numbers, or did something else, as rounding does not."""
    if abs(one.loss - other.loss) > SAME_NUMBERS * rounding.loss:
        return True
    gaps = [distance(mine, theirs) for mine, theirs in zip(one.gradients, other.gradients, strict=False)]
    sizes = [distance(gradient, None) for gradient in one.gradients]
    allowed = float(np.linalg.norm(rounding.gradients)) if rounding.gradients else 0.0
    return bool(sizes) and float(np.linalg.norm(gaps)) > SAME_NUMBERS * max(allowed, 1e-30)


def _differ_anywhere(one: Outcome, other: Outcome, rounding: Allowance) -> bool:
    """The same of a step that may draw numbers: they may show in the gradient of one weight alone, and a tiny one.

    A unit that rounding tips over shows there too, but is a smaller share of it.
    """
    gaps = [distance(mine, theirs) for mine, theirs in zip(one.gradients, other.gradients, strict=False)]
    sizes = [distance(gradient, None) for gradient in one.gradients]
    return _differ(one, other, rounding) or any(
        gap > max(SAME_NUMBERS * allowed, TIPPED * size)
        for gap, allowed, size in zip(gaps, rounding.gradients, sizes, strict=False)
    )


def _reseeded(snapshot: Snapshot, step: ForcedStep) -> Snapshot:
    """The same state with other seeds: integers among the weights, which nothing else counts in."""
    weights = [
        value + 1 if raw(weight).dtype.is_integer else value
        for weight, value in zip(step.state.weights, snapshot.weights, strict=True)
    ]
    return Snapshot(weights, snapshot.optimizers)
