"""Inside a worker: the orders of a verification carried out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from stepbench.records.cases import Case
from stepbench.records.protocol import Agree, Agreed, MakeTrajectory, Train, Trained, TrajectoryMade
from stepbench.records.verify import Curve, Test
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.evaluation import Evaluator
from stepbench.training.step import build_state
from stepbench.training.variants import execution_named
from stepbench.training.workload import Dataset, Workload, import_user_module, load_workload
from stepbench.worker.one_step import VariantStep
from stepbench.worker.trajectory import Trajectory, make_trajectory

TEST_EXAMPLES = 2_000
"""Test examples that a training is evaluated on, so that an evaluation stays short."""


def trajectory_made(order: MakeTrajectory) -> TrajectoryMade:
    """Make the reference trajectory of a group of cases and leave it in a file."""
    use_device(order.device)
    workload = load_workload(order.workload)
    dataset = _load(workload, order.data, (max(order.points) + 1) * order.batch_size)
    trajectory = make_trajectory(workload, dataset, order.batch_size, order.seed, order.points)
    trajectory.save(Path(order.file))
    return TrajectoryMade(trajectory.reference)


class Verifier:
    """Holds the variant of one case between orders."""

    def __init__(self, order: Agree | Train) -> None:
        use_device(order.case.device)
        for plugin in order.plugins:
            import_user_module(plugin)
        execution_named(order.case.variant.execution)
        self._workload = load_workload(order.workload)
        # Level 2 visits the whole set in another order for each seed.
        self._dataset = _load(self._workload, order.data, None)
        self._case: Case = order.case
        self._variant = VariantStep(order.case, self._workload, self._dataset, order.seed)
        x, y = self._dataset.x_test[:TEST_EXAMPLES], self._dataset.y_test[:TEST_EXAMPLES]
        self._evaluator = Evaluator(self._variant.state.model, self._workload.loss(), self._workload.metric(), x, y)

    def agree(self, order: Agree) -> Agreed:
        """Level 1: a step from each point of the trajectory."""
        return Agreed(self._variant.agree(Trajectory.load(Path(order.file))))

    def train(self, order: Train) -> Trained:
        """Level 2: a free-running training, with initial weights and data order from the seed alone."""
        fresh = build_state(self._workload, self._case.variant.precision, order.seed)
        state = self._variant.state
        for variable, initial in zip(state.variables, fresh.variables, strict=True):
            variable.assign(initial)
        losses, tests = self._course(order)
        return Trained(Curve(order.seed, tuple(losses), tuple(tests)))

    def _course(self, order: Train) -> tuple[list[float | None], list[Test]]:
        """The loss of each step, up to the first that is not finite, and the evaluations."""
        x, y = self._dataset.x_train, self._dataset.y_train
        batch_size = self._case.batch_size
        rows = _row_order(order.seed, len(x), order.steps * batch_size)
        losses: list[float | None] = []
        tests: list[Test] = []
        for step in range(order.steps):
            chosen = rows[step * batch_size : (step + 1) * batch_size]
            self._variant.state.model.reset_metrics()  # Keras' step gives its loss as a mean since the last reset.
            loss = float(self._variant.step(tf.constant(x[chosen]), tf.constant(y[chosen])))
            losses.append(_finite(loss))
            if losses[-1] is None:
                break
            if step + 1 in order.tests:
                test = self._evaluator.run()
                tests.append(Test(step + 1, *map(_finite, (test.loss, test.accuracy))))
        return losses, tests


def _finite(value: float) -> float | None:
    """JSON has no word for the others."""
    return value if math.isfinite(value) else None


def _row_order(seed: int, available: int, wanted: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """As many passes over the set as are wanted, each in a random order of its own."""
    random = np.random.default_rng(seed)
    passes = -(-wanted // available)
    return np.concatenate([random.permutation(available) for _ in range(passes)])[:wanted]


def _load(workload: Workload, data: str, examples: int | None) -> Dataset:
    return workload.data(resolve_source(data, limit=examples))
