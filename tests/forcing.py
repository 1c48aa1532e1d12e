"""Level 1 and the audit of level 2, on small models, in a test's own process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kinds
import tensorflow as tf

from stepbench.records.cases import GRAPH, Case, Device, Precision, Variant
from stepbench.records.verify import Agreement, Fault
from stepbench.training import planted as planted  # noqa: PLC0414 - imported to register the planted bugs.
from stepbench.training.devices import use_device
from stepbench.training.feed import stacked
from stepbench.training.state import FLOAT64
from stepbench.training.task import Task, open_task
from stepbench.training.workload import DataSource, Training, Workload
from stepbench.worker.audit import UpdateAudit
from stepbench.worker.forced import ForcedStep
from stepbench.worker.one_step import VariantStep
from stepbench.worker.reference import ReferenceMaker
from stepbench.worker.trajectory import TrajectoryHeader
from stepbench.worker.twin import OptimizerTwin

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

POINTS = (0, 1, 3, 8)
SOURCE = DataSource("synthetic")
Kind = Workload | Training


@contextlib.contextmanager
def own_tapes() -> Iterator[None]:
    """An observer watches every tape of its process, which in a worker is the case's own."""
    kept = tf.GradientTape.gradient
    try:
        yield
    finally:
        tf.GradientTape.gradient = kept


def case_of(execution: str, precision: str = "float32", steps_per_call: int = 1) -> Case:
    return Case("kind", Variant(execution, Precision(precision)), Device.CPU, kinds.BATCH, steps_per_call)


def with_optimizer(kind: str, optimizer: str) -> Workload:
    """A kind of model under an optimizer."""
    workload = kinds.KINDS[kind]
    assert isinstance(workload, Workload)
    return dataclasses.replace(workload, name=f"{kind} {optimizer}", optimizer=kinds.OPTIMIZERS[optimizer])


def trajectory(workload: Kind, cases: Sequence[Case]) -> tuple[Path, TrajectoryHeader]:
    """The trajectory for these cases, and what there is to know of it."""
    return _made(workload, tuple(sorted({(case.variant.precision.value, case.steps_per_call) for case in cases})))


@functools.cache
def _made(workload: Kind, wanted: tuple[tuple[str, int], ...]) -> tuple[Path, TrajectoryHeader]:
    """Of precisions and steps a call, whatever execution takes them: each is made once."""
    cases = [case_of(GRAPH, precision, steps) for precision, steps in wanted]
    folder = Path(tempfile.mkdtemp(prefix="trajectory-"))
    with own_tapes():
        header = ReferenceMaker(open_task(workload, SOURCE), cases, seed=0).make(POINTS, folder)
    return folder, header


def agreement(workload: Kind, case: Case, *others: Case) -> Agreement:
    """Level 1 of a case, from a trajectory that is made for it and others."""
    folder, _ = trajectory(workload, (*others, case))
    return agreement_from(folder, workload, case)


def agreement_from(folder: Path, workload: Kind, case: Case, seed: int = 0) -> Agreement:
    """Level 1 of a case, from a trajectory that is there."""
    with own_tapes():
        task = open_task(workload, SOURCE)
        variant = VariantStep(case, task, seed)
        return variant.agree(folder, stacked(task.feed.take(case.steps_per_call, case.batch_size)))


@dataclasses.dataclass
class Observed:
    """A step that is observed, the twin of its optimizers, and the batches that it is fed."""

    step: ForcedStep
    twin: OptimizerTwin
    task: Task

    def batches(self, count: int) -> list[Any]:
        return self.task.feed.take(count, kinds.BATCH)


def observed(workload: Kind, execution: str = "eager", precision: str = "float32") -> Observed:
    """Build a step; to be called while the test's tapes are its own."""
    task = open_task(workload, SOURCE)
    step = ForcedStep(task.build(precision, 0, kinds.BATCH), case_of(execution, precision), observed=True)
    return Observed(step, OptimizerTwin(task.build(FLOAT64, 0, kinds.BATCH), step.state), task)


def audited(workload: Kind, execution: str, precision: str = "float32", steps: int = 64) -> tuple[list[Fault], int]:
    """The faults of a training, and how many updates were looked at."""
    with own_tapes():
        mine = observed(workload, execution, precision)
        audit = UpdateAudit(mine.step, mine.twin)
        audit.begin()
        for number, batch in enumerate(mine.batches(steps)):
            audit.before()
            mine.step.call(batch)
            audit.after(number)
        return audit.faults, audit.audited
