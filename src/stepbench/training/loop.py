"""The training loop: epochs of whole batches through any variant, then an evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import Case
from stepbench.training.devices import use_device
from stepbench.training.evaluation import Evaluation, Evaluator
from stepbench.training.executions import Call, build_call
from stepbench.training.feed import stacked
from stepbench.training.fit_data import Batch
from stepbench.training.state import TrainState
from stepbench.training.step import figures_of
from stepbench.training.task import Task


class Epoch(msgspec.Struct, frozen=True):
    """The running figures at the end of an epoch."""

    number: int
    """From 1 on."""
    figures: dict[str, float]
    """By name; empty where the step updates no metrics."""
    seconds: float
    examples: int

    @property
    def loss(self) -> float:
        """The running loss; not a number where there is none."""
        return self.figures.get("loss", math.nan)


@dataclass(frozen=True)
class Order:
    """In which order examples are visited."""

    seed: int
    shuffle: bool = False

    def of_epoch(self, number: int) -> int | None:
        """The seed of an epoch's order, or None for the order as published."""
        # By the epoch too, so that a resumed training sees what an uninterrupted one would have seen.
        return (self.seed * 100_003 + number) % 2**32 if self.shuffle else None


class Trainer:
    """A case being trained."""

    def __init__(self, case: Case, task: Task, order: Order, *, has_own_batch_size: bool = False) -> None:
        """Build the case.

        Args:
            case: what is trained.
            task: the workload of the case with its data.
            order: in which examples are visited.
            has_own_batch_size: take the workload's usual batch size, not the case's.

        Raises:
            StepbenchError: when the training set holds less than one batch, or the device is absent.
        """
        use_device(case.device)
        wanted = None if has_own_batch_size else case.batch_size
        self.state: TrainState = task.build(case.variant.precision, order.seed, wanted)
        self.case = case = msgspec.structs.replace(case, batch_size=wanted or task.usual_batch_size)
        task.feed.check_batch_size(case.batch_size)
        self._task = task
        self._order = order
        self._call = build_call(self.state, case)
        self._last_call: Call | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; what is left over sits the epoch out. 0 where a pipeline does not know."""
        return self._task.feed.examples // self.case.batch_size

    def run_epoch(self, number: int, on_steps: Callable[[int], None] = lambda _: None) -> Epoch:
        """Train for one epoch; ``on_steps`` is told how many steps each call made."""
        self.state.reset_metrics()
        waiting: list[Batch] = []
        steps = 0
        result: Any = None

        def visit(batch: Batch) -> None:
            nonlocal steps, result
            waiting.append(batch)
            if len(waiting) == self.case.steps_per_call:
                result = self._call(stacked(waiting))
                on_steps(len(waiting))
                steps += len(waiting)
                waiting.clear()

        started = time.perf_counter()
        self._task.feed.each(self.case.batch_size, visit, seed=self._order.of_epoch(number), passes=1)
        for batch in waiting:  # Too few for another call.
            result = self._single_step()(batch)
            on_steps(1)
            steps += 1
        tf.test.experimental.sync_devices()
        seconds = time.perf_counter() - started
        if not steps:
            raise StepbenchError(f"The training data gives no whole batch of {self.case.batch_size} examples.")
        return Epoch(number, self._figures(result), seconds, steps * self.case.batch_size)

    def evaluate(self) -> Evaluation:
        """All figures over the whole test set."""
        return Evaluator(self.state, self._task.test, self.case.batch_size).run()

    def _figures(self, result: Any) -> dict[str, float]:
        """The running figures; those of a step of the user's own, if it gives some, as it gives them."""
        model = self.state.keras_model
        if model is None or self.state.has_own_step:
            return figures_of(result)
        metrics = self.state.metrics
        counted = float(getattr(metrics.loss, "count", 1.0))
        return figures_of(model.get_metrics_result()) if counted else {}  # What was not counted is not 0.

    def _single_step(self) -> Call:
        if self._last_call is None:
            self._last_call = build_call(self.state, msgspec.structs.replace(self.case, steps_per_call=1))
        return self._last_call
