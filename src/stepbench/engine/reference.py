"""The worker that takes the reference's steps: along its trajectory, and from where cases were as they trained."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stepbench.engine.pool import Pool
from stepbench.engine.worker import WorkerError
from stepbench.records.cases import Case, Plan
from stepbench.records.protocol import MakeTrajectory, Recompute
from stepbench.records.run import Failure
from stepbench.records.store import LOGS_FOLDER, slug
from stepbench.records.verify import Point

WORKER = "reference"


class ReferenceWorker:
    """The reference of cases that share one. Leaving it ends its worker and removes its folder."""

    def __init__(self, plan: Plan, cases: Sequence[Case], folder: Path, timeout_s: float) -> None:
        """Start nothing yet.

        Args:
            plan: of the run.
            cases: all that the reference is asked for.
            folder: the run's.
            timeout_s: the longest that an order may take.
        """
        workload, device, batch_size = cases[0].group
        self.folder = (folder / f".trajectory-{slug(f'{workload}/{device}/b{batch_size}')}").absolute()
        """For the points of the trajectory, later for steps that cases have taken."""
        self.failure: Failure | None = None
        """Why there is no reference any more, if so."""
        self._plan = plan
        self._cases = tuple(cases)
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._pool = Pool[str](folder / LOGS_FOLDER, forks=plan.forks)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)
        self.clear()

    @property
    def is_ready(self) -> bool:
        """Whether steps can be recomputed."""
        return WORKER in self._pool

    def clear(self) -> None:
        """Remove the folder, which is large."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the worker, or say in :attr:`failure` why there is none."""
        self.clear()  # Of a run that was killed.
        try:
            self._pool.start(WORKER, "verify")
            self._pool.greet(WORKER)
        except WorkerError as error:
            self._lose(error)

    def end(self) -> None:
        """End the worker, so that whoever waits for it waits no longer."""
        self._pool.end_all()

    def follow(self, points: Sequence[int]) -> None:
        """Make the trajectory's points, or say in :attr:`failure` why there are none."""
        if self.failure:
            return
        case, plan = self._cases[0], self._plan
        order = MakeTrajectory(
            workload=plan.workloads[case.workload],
            data=plan.data,
            device=case.device,
            cases=self._cases,
            seed=plan.seed,
            points=tuple(points),
            folder=str(self.folder),
        )
        steps = {(case.variant.precision, case.steps_per_call) for case in self._cases}
        try:
            # It builds as many steps as that, and one in float64, each of which may take as long as a case's.
            self._pool.ask(WORKER, order, self._timeout_s + len(steps) * plan.timeout_s)
        except WorkerError as error:
            self._lose(error)

    def folder_for(self, case: Case) -> Path:
        """An empty place for the steps that a case is to leave; its worker makes it."""
        folder = self.folder / slug(case.id)
        shutil.rmtree(folder, ignore_errors=True)  # Of a training that failed.
        self.folder.mkdir(parents=True, exist_ok=True)
        return folder

    def recompute(self, case: Case) -> tuple[Point, ...]:
        """Hold the steps that a case's worker left in its folder against the reference's; none if that fails."""
        folder = self.folder / slug(case.id)
        with self._turn:
            if not self.is_ready:
                return ()
            try:
                reply, _ = self._pool.ask(WORKER, Recompute(case, str(folder)), self._timeout_s)
            except WorkerError as error:
                self._lose(error)
                return ()
        shutil.rmtree(folder, ignore_errors=True)
        return reply.points

    def _lose(self, error: WorkerError) -> None:
        self.failure = error.failure  # First: whoever finds the worker gone asks why.
        self._pool.end(WORKER)
