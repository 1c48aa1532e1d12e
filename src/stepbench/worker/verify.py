"""Inside a worker: the orders of a verification carried out."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import tensorflow as tf

from stepbench.records.protocol import (
    Agree,
    Agreed,
    MakeReady,
    MakeTrajectory,
    Ready,
    Recompute,
    Recomputed,
    Train,
    Trained,
    TrajectoryMade,
)
from stepbench.records.verify import Curve, Test
from stepbench.training.devices import use_device
from stepbench.training.evaluation import Evaluator
from stepbench.training.executions import execution_named
from stepbench.training.feed import stacked
from stepbench.training.fit_data import Batch, Enough
from stepbench.training.locate import import_user_module
from stepbench.training.state import TrainState, raw
from stepbench.training.task import task_named
from stepbench.worker.audit import UpdateAudit
from stepbench.worker.one_step import VariantStep
from stepbench.worker.reference import TAKEN, ReferenceMaker
from stepbench.worker.settings import apply_settings
from stepbench.worker.tensors import AS_WRITTEN, as_written, assign, copy, value_of
from stepbench.worker.trajectory import Allowance, Target, save_target

NO_ALLOWANCE = Allowance(0.0, [], [], [])
MOST_KEPT_BYTES = 1 << 29
"""Of the steps of a training that the reference takes too: no further one is kept when there is more."""
TEST_EXAMPLES = 2_000
"""Test examples that a training is evaluated on, so that an evaluation stays short."""


Beginnings = list[list[tf.Variable]]
"""What a training begins from: weights, and the variables of each optimizer."""


class Reference:
    """Holds the reference's step in every precision between orders."""

    def __init__(self, order: MakeTrajectory) -> None:
        use_device(order.device)
        tf.config.optimizer.set_experimental_options(AS_WRITTEN)
        self._maker = ReferenceMaker(task_named(order.workload, order.data), order.cases, order.seed)

    def make(self, order: MakeTrajectory) -> TrajectoryMade:
        """Make the reference trajectory of a group of cases and leave it in a folder."""
        folder = Path(order.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return TrajectoryMade(self._maker.make(order.points, folder).references)

    def recompute(self, order: Recompute) -> Recomputed:
        """Hold what a case did as it trained against the reference's step."""
        return Recomputed(self._maker.recompute(order.case, Path(order.folder)))


class Verifier:
    """Holds the variant of one case between orders."""

    def __init__(self, order: MakeReady | Agree | Train) -> None:
        use_device(order.case.device)
        apply_settings(order.case.settings)
        with as_written():
            pass  # Having been told once that graphs are to be rewritten again, TensorFlow makes each ready anew.
        for plugin in order.plugins:
            import_user_module(plugin)
        execution_named(order.case.variant.execution)
        # Level 2 visits the whole set in another order for each seed.
        self._task = task_named(order.workload, order.data)
        self._case = order.case
        self._seed = order.seed
        self._variant = VariantStep(order.case, self._task, order.seed)
        self._audit: UpdateAudit | None = None
        state = self._variant.observed.state
        self._first = _digest_of(_beginnings(state))
        self._is_quick: bool | None = None
        """Whether quick builds have given what the first one has."""
        self._evaluator = Evaluator(state, self._task.test, order.case.batch_size, TEST_EXAMPLES)

    def make_ready(self) -> Ready:
        """Have the steps traced and compiled, which takes a deep network most of its time."""
        self._variant.rehearse(self._like())
        return Ready()

    def agree(self, order: Agree) -> Agreed:
        """Level 1: a call from each point of the trajectory."""
        return Agreed(self._variant.agree(Path(order.folder), self._like()))

    def _like(self) -> Batch:
        """A batch of the case."""
        return stacked(self._task.feed.take(self._case.steps_per_call, self._case.batch_size))

    def train(self, order: Train) -> Trained:
        """Level 2: a free-running training, with initial weights and data order from the seed alone."""
        self._begin(order.seed)
        if self._audit is None and self._case.steps_per_call == 1:
            self._audit = UpdateAudit(self._variant.observed, self._variant.twin)
        course = _Course(order, self._variant, self._evaluator, self._audit)
        self._task.feed.each(self._case.batch_size, course.visit, seed=order.seed)
        return Trained(course.curve())

    def _begin(self, seed: int) -> None:
        """Put the observed step where a fresh build from the seed is; metrics begin anew with each step."""
        for mine, theirs in zip(_beginnings(self._variant.observed.state), self._fresh(seed), strict=True):
            copy(theirs, mine)

    def _fresh(self, seed: int) -> Beginnings:
        """What a training from the seed begins from."""
        if self._is_quick is None:  # Asked after builds of the same seed, which it must not have to be the first for.
            quick = self._quickly(self._seed)
            self._is_quick = _digest_of(quick) == self._first
            if self._is_quick and seed == self._seed:
                return quick
        if self._is_quick:
            return self._quickly(seed)
        return _beginnings(self._task.build(self._case.variant.precision, seed, self._case.batch_size))

    def _quickly(self, seed: int) -> Beginnings:
        """The same for most models: without a trace, and while compiled functions stay."""
        precision, batch_size = self._case.variant.precision, self._case.batch_size
        return _beginnings(self._task.build(precision, seed, batch_size, for_values=True))


def _beginnings(state: TrainState) -> Beginnings:
    groups = (state.weights, *(optimizer.variables for optimizer in state.optimizers))
    return [[raw(variable) for variable in group] for group in groups]


def _digest_of(beginnings: Beginnings) -> str:
    """Equal for as many variables of the same shapes with bit-identical values."""
    digest = hashlib.sha256()
    for group in beginnings:
        digest.update(f"{len(group)} variables".encode())
        for variable in group:
            digest.update(f"{variable.dtype} {variable.shape}".encode() + value_of(variable).tobytes())
    return digest.hexdigest()


class _Course:
    """One training: the loss of each call up to the first that is not finite, the evaluations, the audit."""

    def __init__(self, order: Train, variant: VariantStep, evaluator: Evaluator, audit: UpdateAudit | None) -> None:
        self._order = order
        self._variant = variant.observed
        self._evaluator = evaluator
        self._audit = audit
        self._waiting: list[Batch] = []
        self._steps = 0
        self._to_keep = list(order.points)
        self._kept_bytes = 0
        self._losses: list[float | None] = []
        self._tests: list[Test] = []
        self._initial = variant.observed.digest()
        if audit:
            audit.begin()

    def visit(self, batch: Batch) -> None:
        """Take the next batch of the training."""
        self._waiting.append(batch)
        if len(self._waiting) < self._order.case.steps_per_call:
            return
        self._call(stacked(self._waiting))
        before, self._steps = self._steps, self._steps + len(self._waiting)
        self._waiting.clear()
        for due in (step for step in self._order.tests if before < step <= self._steps):
            self._tests.append(self._evaluated(due))
        if self._losses[-1] is None or self._steps >= self._order.steps:
            raise Enough

    def curve(self) -> Curve:
        """All that was seen."""
        faults, audited = (tuple(self._audit.faults), self._audit.audited) if self._audit else ((), 0)
        return Curve(self._order.seed, tuple(self._losses), tuple(self._tests), faults, audited, self._initial)

    def _call(self, batch: Batch) -> None:
        self._variant.state.reset_metrics()  # Keras' step gives its loss as a mean since the last reset.
        if self._audit:
            self._audit.before()
        last = self._steps + self._order.case.steps_per_call - 1
        if self._to_keep and self._to_keep[0] <= last:
            loss = self._kept(batch)
        else:
            loss, _ = self._variant.timed(batch)
        self._losses.append(_finite(loss))
        if self._audit:
            self._audit.after(self._steps)

    def _kept(self, batch: Batch) -> float:
        """The loss of a call whose beginning and outcome are kept, for the reference to take it too."""
        snapshot, outcome = self._variant.go_on(batch)
        if not outcome.skipped:  # Else the next call is kept instead.
            self._to_keep.pop(0)
            Path(self._order.folder).mkdir(parents=True, exist_ok=True)
            target = Target(
                self._steps, self._order.case.steps_per_call, snapshot, batch, {TAKEN: outcome}, {}, NO_ALLOWANCE
            )
            self._kept_bytes += save_target(target, Path(self._order.folder))
            if self._kept_bytes > MOST_KEPT_BYTES:
                self._to_keep.clear()
        return outcome.loss

    def _evaluated(self, step: int) -> Test:
        """The figures of now; what an evaluation leaves in a stateful layer is put back."""
        weights = self._variant.state.weights
        kept = [value_of(raw(weight)) for weight in weights]
        figures = {name: _finite(value) for name, value in self._evaluator.run().figures.items()}
        assign(weights, kept)
        return Test(step, loss=figures.pop("loss", None), figures=figures)


def _finite(value: float) -> float | None:
    """JSON has no word for the others."""
    return value if math.isfinite(value) else None
