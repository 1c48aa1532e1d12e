"""Outside the workers: which case takes which step of a verification, and when enough is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from stepbench.analysis.equivalence import Verdict, anchor_of, is_look, judge_curves, trains_for
from stepbench.measurement import (
    AgreementMeasured,
    CurveMeasured,
    Measurement,
    VerificationFailed,
    VerifyingEvent,
    assemble,
)
from stepbench.measuring.pool import START_TIMEOUT_S, Pool, Worker, WorkerError
from stepbench.measuring.protocol import Agree, Agreed, MakeTrajectory, Train, Trained, TrajectoryMade
from stepbench.measuring.schedule import Journal, Progress, line_ups
from stepbench.spec import Case, Plan, Verification

TRAJECTORY_FILE = "trajectory.npz"
STEP_TIMEOUT_S = 1.0
"""The longest that one training step may take on average."""


def verify(
    plan: Plan,
    measured: Sequence[Measurement],
    journal: Journal,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Verify the convergence of every case that has not failed and is not verified yet.

    Args:
        plan: what was asked for; with its verification settings.
        measured: what is known so far.
        journal: takes the events.
        folder: the run's folder, for logs and the reference trajectories.
        report: told how far it is.
    """
    assert plan.verification, "asked only of plans that verify"
    for cases in line_ups([measurement.case for measurement in measured if not measurement.failure]):
        known = {measurement.case: measurement for measurement in measured if measurement.case in cases}
        if all(measurement.agreement or measurement.verification_failure for measurement in known.values()):
            continue
        with Pool(folder / "logs") as pool:
            _GroupVerification(plan, plan.verification, cases, pool, journal, folder, report).run()


class _GroupVerification:
    """The verification of cases that share a reference."""

    def __init__(  # noqa: PLR0917 - all of what verify() was given.
        self,
        plan: Plan,
        settings: Verification,
        cases: Sequence[Case],
        pool: Pool,
        journal: Journal,
        folder: Path,
        report: Callable[[Progress], None],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._cases = tuple(cases)
        self._live = list(cases)
        self._pool = pool
        self._journal = journal
        self._folder = folder
        self._report = report
        self._events: list[VerifyingEvent] = []
        self._trained = 0
        self._to_train = 0

    def run(self) -> None:
        """Level 1 for all, then level 2 for those that train on behalf of others."""
        self._say("starting workers to verify")
        self._each(self._live, lambda case: self._pool.start(case, "verify"))
        if not self._make_trajectory():
            return
        self._each(self._live, self._pool.greet)
        self._each(self._live, self._agree)
        self._journal.sync()
        trainees = self._trainees()
        for case in self._live:
            if case not in trainees:
                self._pool.end(case)
        self._train_all(trainees)

    def _make_trajectory(self) -> bool:
        """Make the reference trajectory; without one no case can be verified."""
        case, plan = self._cases[0], self._plan
        order = MakeTrajectory(
            workload=plan.workloads[case.workload],
            data=plan.data,
            device=case.device,
            batch_size=case.batch_size,
            seed=plan.seed,
            points=self._settings.points,
            file=str(self._folder / TRAJECTORY_FILE),
        )
        self._say("following the reference trajectory")
        worker = Worker(self._folder / "logs" / "trajectory.log")
        try:
            worker.reply(START_TIMEOUT_S)
            reply = worker.ask(order, plan.timeout_s + STEP_TIMEOUT_S * self._settings.steps)
            assert isinstance(reply, TrajectoryMade), "workers answer in kind"
        except WorkerError as error:
            for live in tuple(self._live):
                self._fail(live, error)
            return False
        finally:
            worker.kill()
        return True

    def _agree(self, case: Case) -> None:
        plan = self._plan
        self._say(f"comparing steps of {case.id}")
        file = str(self._folder / TRAJECTORY_FILE)
        order = Agree(case, plan.workloads[case.workload], plan.plugins, plan.data, plan.seed, file)
        reply, _ = self._pool.ask(case, order, plan.timeout_s)
        assert isinstance(reply, Agreed), "workers answer in kind"
        self._take(AgreementMeasured(case.id, reply.agreement))

    def _trainees(self) -> list[Case]:
        """The cases that train: the anchor first, then whoever trains on behalf of some case."""
        known = self._known()
        anchors = (anchor_of(case, known) for case in self._live)
        stand_ins = (trains_for(known[case], known) for case in self._live)
        anchor = next((measurement.case for measurement in anchors if measurement), None)
        others = {measurement.case for measurement in stand_ins if measurement} - {anchor}
        # Alone, neither an anchor nor others have anything to be compared with.
        return [anchor, *sorted(others)] if anchor and others else []

    def _train_all(self, trainees: Sequence[Case]) -> None:
        """Train seed by seed, each trainee until its verdict is reached."""
        if not trainees or not self._settings.seeds:
            return
        anchor, *others = trainees
        undecided = [case for case in others if case in self._live]
        self._to_train = self._settings.seeds * len(trainees)
        for seed in range(self._settings.seeds):
            self._each([anchor, *undecided], functools.partial(self._train, seed))
            self._journal.sync()
            if anchor not in self._live:
                return
            if is_look(seed + 1, self._settings):
                undecided = [case for case in undecided if case in self._live and not self._is_decided(case, anchor)]
            undecided = [case for case in undecided if case in self._live and not self._has_diverged(case)]
            if not undecided:
                return

    def _train(self, seed: int, case: Case) -> None:
        self._say(f"training {case.id}, seed {seed + 1} of at most {self._settings.seeds}")
        steps = self._settings.steps
        reply, _ = self._pool.ask(case, Train(seed, steps), self._plan.timeout_s + STEP_TIMEOUT_S * steps)
        assert isinstance(reply, Trained), "workers answer in kind"
        self._trained += 1
        self._take(CurveMeasured(case.id, reply.curve))

    def _is_decided(self, case: Case, anchor: Case) -> bool:
        known = self._known()
        verdict = judge_curves(known[case].curves, known[anchor].curves, self._settings).verdict
        return verdict is not Verdict.INCONCLUSIVE

    def _has_diverged(self, case: Case) -> bool:
        return any(None in curve.losses for curve in self._known()[case].curves)

    def _known(self) -> dict[Case, Measurement]:
        return {measurement.case: measurement for measurement in assemble(self._cases, self._events)}

    def _take(self, event: VerifyingEvent) -> None:
        self._events.append(event)
        self._journal.append(event)

    def _each(self, cases: Sequence[Case], action: Callable[[Case], None]) -> None:
        for case in tuple(cases):
            try:
                action(case)
            except WorkerError as error:
                self._fail(case, error)

    def _fail(self, case: Case, error: WorkerError) -> None:
        self._pool.end(case)
        self._live.remove(case)
        self._take(VerificationFailed(case.id, error.failure))
        self._journal.sync()

    def _say(self, doing: str) -> None:
        self._report(Progress(self._trained, self._to_train, doing))
