"""Outside the workers: what each device attains, and what each case's step has to compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from stepbench.engine.pool import Pool
from stepbench.engine.worker import WorkerError
from stepbench.probes.memory import memory_left
from stepbench.records.cases import Case, Device, Plan, Precision
from stepbench.records.progress import Progress
from stepbench.records.protocol import AnsweredBy, Attain, Count, ReplyT
from stepbench.records.run import Attainable, Failure, Measurement, WorkCounted, WorkFailed
from stepbench.records.store import LOGS_FOLDER, Journal

MEMORY_SHARE = 0.25
"""Of what is available, for measuring the bandwidth."""


def assess(
    plan: Plan,
    measured: Sequence[Measurement],
    known: Sequence[Attainable],
    journal: Journal,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> tuple[Attainable, ...]:
    """Measure the devices of the cases that have not failed, and count those cases' steps, each once.

    What cannot be measured is left out, with its story in the worker's log; what cannot be counted is an event.

    Args:
        plan: what was asked for.
        measured: what is known so far of the cases.
        known: what is known so far of the devices.
        journal: takes the events.
        folder: the run's folder, for logs.
        report: told how far it is.

    Returns:
        What each device attains, ``known`` ones among them.
    """
    sound = [found for found in measured if not found.failure and found.replicates]
    devices = {found.case.device for found in sound} - {device.device for device in known}
    todo = sorted(found.case for found in sound if not (found.work or found.work_failure))
    with Pool[Device](folder / LOGS_FOLDER, forks=plan.forks) as pool:
        assessor = _Assessor(
            plan, pool, journal, report, of_orders=len(devices) + len({case.workload for case in todo})
        )
        attained = [assessor.attain(device) for device in sorted(devices)]
        for _, cases in groupby(todo, key=lambda case: case.workload):
            assessor.count(list(cases))
    return (*known, *filter(None, attained))


class _Assessor:
    """Gives orders to a worker a device; steps are counted by the one on CPU, as they are the same on each."""

    def __init__(
        self, plan: Plan, pool: Pool[Device], journal: Journal, report: Callable[[Progress], None], of_orders: int
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._journal = journal
        self._report = report
        self._orders = 0
        self._of_orders = of_orders

    def attain(self, device: Device) -> Attainable | None:
        """Measure a device; None when that fails."""
        self._say(f"measuring what the {device} attains")
        precisions = {case.variant.precision for case in self._plan.cases if case.device is device}
        dtypes = tuple(precision.compute_dtype for precision in Precision if precision in precisions)
        order = Attain(device, dtypes, int(MEMORY_SHARE * memory_left()[0]))
        reply = self._ask(device, order, self._plan.timeout_s)
        return None if isinstance(reply, Failure) else reply.attainable

    def count(self, cases: Sequence[Case]) -> None:
        """Count the steps of one workload's cases; they are the same however they are executed."""
        name = cases[0].workload
        self._say(f"counting the work of {name}")
        steps = tuple(sorted({_step(case) for case in cases}))
        order = Count(self._plan.workloads[name], self._plan.data, steps)
        reply = self._ask(Device.CPU, order, self._plan.timeout_s * (1 + len(steps)))
        works = {} if isinstance(reply, Failure) else dict(zip(steps, reply.works, strict=True))
        for case in cases:
            event = (
                WorkFailed(case.id, reply) if isinstance(reply, Failure) else WorkCounted(case.id, works[_step(case)])
            )
            self._journal.append(event)
        self._journal.sync()

    def _ask(self, device: Device, order: AnsweredBy[ReplyT], timeout_s: float) -> ReplyT | Failure:
        """The reply to an order, or why there is none; then a fresh worker takes the next order."""
        try:
            if device not in self._pool:
                self._pool.start(device, "assess")
                self._pool.greet(device)
            return self._pool.ask(device, order, timeout_s)[0]
        except WorkerError as error:
            self._pool.end(device)
            return error.failure
        finally:
            self._orders += 1

    def _say(self, doing: str) -> None:
        self._report(Progress(self._orders, self._of_orders, doing))


def _step(case: Case) -> tuple[Precision, int]:
    return (case.variant.precision, case.batch_size)
