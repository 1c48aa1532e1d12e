"""The training loop: epochs of full batches through any variant, then an evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import Case
from stepbench.training.devices import use_device
from stepbench.training.evaluation import Evaluation, Evaluator
from stepbench.training.step import TrainState, build_state
from stepbench.training.variants import build_call
from stepbench.training.workload import Dataset, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stepbench.training.variants import Step


class Epoch(msgspec.Struct, frozen=True):
    """The running figures at the end of an epoch; not a number where the step updates no metrics."""

    number: int
    """From 1 on."""
    loss: float
    accuracy: float
    """From 0 to 1."""
    seconds: float
    examples: int


@dataclass(frozen=True)
class Order:
    """In which order examples are visited."""

    seed: int
    shuffle: bool = False

    def rows(self, epoch: int, examples: int) -> NDArray[np.intp] | None:
        """The order of an epoch, or None for the order as published."""
        # Seeded by the epoch too, so that a resumed training sees what an uninterrupted one would have seen.
        return np.random.default_rng((self.seed, epoch)).permutation(examples) if self.shuffle else None


class Trainer:
    """A case being trained."""

    def __init__(self, case: Case, workload: Workload, dataset: Dataset, order: Order) -> None:
        """Build the case.

        Raises:
            StepbenchError: when the training set holds less than one batch, or the device is absent.
        """
        if len(dataset.x_train) < case.batch_size:
            raise StepbenchError(
                f"The training set has {len(dataset.x_train)} examples: "
                f"choose a batch size of at most that, not {case.batch_size}."
            )
        use_device(case.device)
        self.case = case
        self.state: TrainState = build_state(workload, case.variant.precision, order.seed)
        self._dataset = dataset
        self._order = order
        self._workload = workload
        self._call = build_call(self.state, case)
        self._last_call: Step | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Full batches; what is left over sits the epoch out, so every step has the same shape and is traced once."""
        return len(self._dataset.x_train) // self.case.batch_size

    def run_epoch(self, number: int, on_steps: Callable[[int], None] = lambda _: None) -> Epoch:
        """Train for one epoch; ``on_steps`` is told how many steps each call made."""
        self.state.metrics.reset()
        started = time.perf_counter()
        for steps, x, y in self._batches(number):
            call = self._call if steps == self.case.steps_per_call else self._single_step()
            call(x, y)
            on_steps(steps)
        tf.test.experimental.sync_devices()
        seconds = time.perf_counter() - started
        metrics = self.state.metrics
        examples = self.steps_per_epoch * self.case.batch_size
        if not float(metrics.loss.count):  # A user's step need not update them, and what was not counted is not 0.
            return Epoch(number, math.nan, math.nan, seconds, examples)
        return Epoch(number, float(metrics.loss.result()), float(metrics.accuracy.result()), seconds, examples)

    def evaluate(self) -> Evaluation:
        """Loss and accuracy over the whole test set."""
        workload, dataset = self._workload, self._dataset
        return Evaluator(self.state.model, workload.loss(), workload.metric(), dataset.x_test, dataset.y_test).run()

    def _batches(self, epoch: int) -> Iterator[tuple[int, tf.Tensor, tf.Tensor]]:
        """Full calls of ``steps_per_call`` batches, then the steps that are left, one by one."""
        rows = self._order.rows(epoch, len(self._dataset.x_train))
        step = 0
        while step < self.steps_per_epoch:
            whole = step + self.case.steps_per_call <= self.steps_per_epoch
            steps = self.case.steps_per_call if whole else 1
            chosen = slice(step * self.case.batch_size, (step + steps) * self.case.batch_size)
            taken = chosen if rows is None else rows[chosen]
            leading = (steps, self.case.batch_size) if steps > 1 else (self.case.batch_size,)
            x, y = self._dataset.x_train[taken], self._dataset.y_train[taken]
            yield steps, tf.constant(x.reshape(*leading, *x.shape[1:])), tf.constant(y.reshape(*leading, *y.shape[1:]))
            step += steps

    def _single_step(self) -> Step:
        if self._last_call is None:
            self._last_call = build_call(self.state, msgspec.structs.replace(self.case, steps_per_call=1))
        return self._last_call
