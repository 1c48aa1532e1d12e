"""Cases of workloads, built in the test's own process as a worker builds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.executions import Call, build_call
from stepbench.training.fit_data import Batch
from stepbench.training.locate import Locatable, load_workload
from stepbench.training.state import TrainState
from stepbench.training.task import Task, open_task

SYNTHETIC = stepbench.DataSource("synthetic")


@dataclass(frozen=True)
class Ready:
    """A case whose step can be called."""

    task: Task
    state: TrainState
    call: Call
    case: Case

    def batches(self, count: int) -> list[Batch]:
        return self.task.feed.take(count, self.case.batch_size)

    def values(self) -> list[NDArray[Any]]:
        """Of all variables that a step may change."""
        return [variable.numpy() for variable in self.state.variables]


def workload_at(locator: str) -> stepbench.Workload:
    """The workload of a Keras model that a locator names."""
    found = load_workload(locator)
    assert isinstance(found, stepbench.Workload)
    return found


def ready(
    workload: Locatable,
    execution: str = "graph",
    precision: str = "float32",
    *,
    steps_per_call: int = 1,
    batch_size: int | None = None,
    seed: int = 0,
) -> Ready:
    """A case of a workload; in the batch size that is usual for it unless another is asked for."""
    task = open_task(workload, SYNTHETIC)
    state = task.build(precision, seed, batch_size)
    variant = Variant(execution, Precision(precision))
    case = Case(workload.name, variant, Device.CPU, batch_size or task.usual_batch_size, steps_per_call)
    return Ready(task, state, build_call(state, case), case)


def same(ours: Ready, theirs: Ready) -> bool:
    """Whether all variables are, to the last bit."""
    pairs = zip(ours.values(), theirs.values(), strict=True)
    return all(np.array_equal(mine, its) for mine, its in pairs)


def assert_close(ours: Ready, theirs: Ready, atol: float, rtol: float = 1e-5) -> None:
    for mine, its in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=rtol, atol=atol)
