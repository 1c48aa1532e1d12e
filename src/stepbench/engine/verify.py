"""Outside the workers: which case takes which step of a verification, and when enough is known."""

from __future__ import annotations

import functools
import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from stepbench.engine.pool import Pool
from stepbench.engine.reference import ReferenceWorker
from stepbench.engine.rounds import MAX_TEAM, chunks
from stepbench.engine.together import AT_ONCE, together
from stepbench.engine.worker import Surroundings, WorkerError
from stepbench.judge.training import FIRST_LOOK, Verdict, is_look, judge_curves
from stepbench.judge.verify import anchor_of, trains_for
from stepbench.records.cases import MAX_SEED, Case, Plan, Verification
from stepbench.records.progress import Progress
from stepbench.records.protocol import Agree, MakeReady, Train
from stepbench.records.run import (
    AgreementMeasured,
    CurveMeasured,
    Failure,
    FailureKind,
    Measurement,
    VerificationFailed,
    VerifyingEvent,
    grown,
)
from stepbench.records.store import LOGS_FOLDER, Journal
from stepbench.records.verify import Curve, Point

RECOMPUTED = 2
"""Steps of each training that the reference takes too, from the same state."""
STEP_TIMEOUT_S = 1.0
"""The longest that one training step may take on average."""


def verify(
    plan: Plan,
    measured: Sequence[Measurement],
    journal: Journal,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
    *,
    budget_s: float | None = None,
) -> None:
    """Verify the convergence of every case that has not failed, going on from what is known.

    Args:
        plan: what was asked for; with its verification settings.
        measured: what is known so far.
        journal: takes the events.
        folder: the run's folder, for logs and the reference trajectories.
        report: told how far it is.
        budget_s: after which no seed is begun, once there are enough for a first look.
    """
    assert plan.verification, "asked only of plans that verify"
    sound = sorted((found for found in measured if not found.failure), key=lambda found: found.case.group)
    for _, group in groupby(sound, key=lambda found: found.case.group):
        _GroupVerification(plan, plan.verification, tuple(group), journal, folder, report, budget_s=budget_s).run()


class _GroupVerification:
    """The verification of cases that share a reference."""

    def __init__(
        self,
        plan: Plan,
        settings: Verification,
        measured: Sequence[Measurement],
        journal: Journal,
        folder: Path,
        report: Callable[[Progress], None],
        *,
        budget_s: float | None,
    ) -> None:
        self._ends = math.inf if budget_s is None else time.monotonic() + budget_s
        self._plan = plan
        self._settings = settings
        self._known = {measurement.case: measurement for measurement in measured}
        self._journal = journal
        self._report = report
        self._timeout_s = plan.timeout_s + STEP_TIMEOUT_S * settings.steps
        self._pool = Pool[Case](folder / LOGS_FOLDER, forks=plan.forks)
        self._reference = ReferenceWorker(plan, tuple(self._known), folder, self._timeout_s)
        self._turn = threading.Lock()
        self._trainings = 0
        self._of_trainings = 0

    def run(self) -> None:
        """Level 1 for every case, then level 2 for those that train on behalf of others."""
        todo = [case for case, known in self._known.items() if not known.agreement and not known.verification_failure]
        with self._pool, self._reference:
            if todo:
                self._agree_all(todo)
                self._reference.clear()  # It is large, and all that it was for is known.
            self._train_where_needed()

    def _agree_all(self, cases: Sequence[Case]) -> None:
        """Level 1: every case takes a step from each point of the trajectory; without one none can be verified."""
        self._reference.start()
        teams = chunks(cases, MAX_TEAM)
        following = [self._follow]
        for team in teams:
            self._say(f"starting {len(team)} workers to compare steps")
            self._start(team)
            self._together(team, self._make_ready, *following)
            following = []
            if failure := self._reference.failure:
                for case in self._live(cases):
                    self._fail(case, failure)
                return
            self._each(team, self._agree)
            if len(teams) > 1:  # Else they stay, as some of them are to train.
                self._keep(())

    def _follow(self) -> None:
        self._say("following the reference trajectory")
        self._reference.follow(self._settings.points)

    def _train_where_needed(self) -> None:
        """Level 2: the anchor, and whoever trains for themselves or for others."""
        anchor = next(filter(None, (anchor_of(case, self._known) for case in self._known)), None)
        others = self._trainees(anchor.case) if anchor and self._settings.seeds else []
        if anchor is None or not others:
            return
        self._of_trainings = self._settings.seeds * (1 + len(others))
        is_wanted = not self._reference.failure and any(self._is_comparable(case) for case in others)
        if is_wanted and not self._reference.is_ready:
            # Level 1 was known before: one point is enough to know what cases are held against.
            self._reference.start()
            self._reference.follow(self._settings.points[:1])
        for team in chunks(others, MAX_TEAM - 1):
            self._train_all(anchor.case, team)

    def _start(self, cases: Sequence[Case]) -> None:
        """Start the workers of those cases that have none."""
        missing = [case for case in cases if case not in self._pool]
        self._each(missing, lambda case: self._pool.start(case, "verify", Surroundings(settings=case.settings)))
        self._each(missing, self._pool.greet)

    def _keep(self, cases: Sequence[Case]) -> None:
        """End the workers of all other cases."""
        for case in self._known:
            if case not in cases:
                self._pool.end(case)

    def _make_ready(self, case: Case) -> None:
        plan = self._plan
        order = MakeReady(case, plan.workloads[case.workload], plan.plugins, plan.data, plan.seed)
        self._pool.ask(case, order, AT_ONCE * self._timeout_s)

    def _agree(self, case: Case) -> None:
        plan = self._plan
        self._say(f"comparing steps of {case.id}")
        folder = str(self._reference.folder)
        order = Agree(case, plan.workloads[case.workload], plan.plugins, plan.data, plan.seed, folder)
        reply, _ = self._pool.ask(case, order, self._timeout_s)
        self._take(AgreementMeasured(case.id, reply.agreement), case)

    def _trainees(self, anchor: Case) -> list[Case]:
        """The cases beside the anchor that train, for themselves or on behalf of others."""
        verified = [known for known in self._known.values() if known.agreement and not known.verification_failure]
        stand_ins = {found.case for known in verified if (found := trains_for(known, self._known))}
        return sorted(case for case in stand_ins - {anchor} if not self._is_decided(case, anchor))

    def _train_all(self, anchor: Case, cases: Sequence[Case]) -> None:
        """Level 2: train seed by seed, each case until its verdict is reached."""
        undecided = list(cases)
        self._keep([anchor, *cases])
        self._start([anchor, *cases])
        for number in range(self._settings.seeds):
            seed = (self._plan.seed + number) % (MAX_SEED + 1)
            self._together([anchor, *undecided], functools.partial(self._train, seed))
            is_late = number + 1 >= FIRST_LOOK and time.monotonic() >= self._ends
            if is_late or self._known[anchor].verification_failure:
                return
            undecided = [case for case in undecided if not self._is_decided(case, anchor)]
            if not undecided:
                return

    def _train(self, seed: int, case: Case) -> None:
        known = self._known[case]
        if known.verification_failure or seed in {curve.seed for curve in known.curves}:
            return
        plan, steps = self._plan, self._settings.steps
        self._check_time(known)
        self._say(f"training {case.id}, seed {seed} ({len(known.curves) + 1} of at most {self._settings.seeds})")
        points = self._drawn(case, seed) if self._reference.is_ready and self._is_comparable(case) else ()
        order = Train(
            case=case,
            workload=plan.workloads[case.workload],
            plugins=plan.plugins,
            data=plan.data,
            seed=seed,
            steps=steps,
            tests=self._settings.tests,
            points=points,
            folder=str(self._reference.folder_for(case)),
        )
        reply, _ = self._pool.ask(case, order, AT_ONCE * self._timeout_s)  # Another one may train beside it.
        curve = self._recomputed(case, reply.curve) if self._is_comparable(case) else reply.curve
        self._take(CurveMeasured(case.id, curve), case)
        self._say(f"trained {case.id}, seed {seed}")

    def _check_time(self, known: Measurement) -> None:
        """Refuse a training that would be cut short anyway, before it has taken all the time that it is given."""
        takes_s = known.agreement.step_s * self._settings.steps if known.agreement else 0.0
        if takes_s > self._timeout_s:
            message = (
                f"A training of {self._settings.steps} steps would take about {takes_s:.0f} s and is given "
                f"{self._timeout_s:.0f} s: train fewer --steps, or give it a longer --timeout."
            )
            raise WorkerError(Failure(FailureKind.TIMEOUT, message))

    def _is_comparable(self, case: Case) -> bool:
        """Whether the reference takes the same steps, but for rounding."""
        agreement = self._known[case].agreement
        return agreement is not None and not agreement.not_comparable

    def _drawn(self, case: Case, seed: int) -> tuple[int, ...]:
        """Steps of a training that the reference takes too: one of each equal part, at random."""
        drawing = random.Random(f"{self._plan.seed}/{case.id}/{seed}")  # noqa: S311 - it draws a sample.
        edges = [self._settings.steps * part // RECOMPUTED for part in range(RECOMPUTED + 1)]
        return tuple(drawing.randrange(low, high) for low, high in itertools.pairwise(edges) if low < high)

    def _recomputed(self, case: Case, curve: Curve) -> Curve:
        """The training with those of its steps compared that the reference took too, or why none could be."""
        points: tuple[Point, ...] = ()
        if self._reference.is_ready:
            self._say(f"taking steps of {case.id} again")
            points = self._reference.recompute(case)
        failure = None if points else self._reference.failure  # It may have been lost since, to another case.
        return msgspec.structs.replace(curve, points=points, not_recomputed=failure.message if failure else "")

    def _is_decided(self, case: Case, anchor: Case) -> bool:
        """Whether more trainings of this case would tell nothing new."""
        known = self._known[case]
        if known.verification_failure or any(None in curve.losses or curve.faults for curve in known.curves):
            return True
        if known.curves and trains_for(known, self._known) is not known:
            return True
        if not is_look(len(known.curves), self._settings):
            return False
        verdict = judge_curves(known.curves, self._known[anchor].curves, self._settings).verdict
        return verdict is not Verdict.INCONCLUSIVE

    def _each(self, cases: Sequence[Case], action: Callable[[Case], None]) -> None:
        """Do it for every case that has not failed."""
        self._pool.each(self._live(cases), action, self._fail)

    def _together(self, cases: Sequence[Case], action: Callable[[Case], None], *before: Callable[[], None]) -> None:
        """The same for some at a time, after what else there is to do."""
        attempts = [functools.partial(self._pool.attempt, case, action, self._fail) for case in self._live(cases)]
        together([*before, *attempts], self._give_up)

    def _live(self, cases: Sequence[Case]) -> list[Case]:
        return [case for case in cases if not self._known[case].verification_failure]

    def _fail(self, case: Case, failure: Failure) -> None:
        self._take(VerificationFailed(case.id, failure), case)

    def _give_up(self) -> None:
        self._pool.end_all()
        self._reference.end()

    def _take(self, event: VerifyingEvent, case: Case) -> None:
        with self._turn:
            self._known[case] = grown(self._known[case], event)
            self._trainings += isinstance(event, CurveMeasured)
            self._journal.append(event)
            self._journal.sync()

    def _say(self, doing: str) -> None:
        with self._turn:
            self._report(Progress(self._trainings, self._of_trainings, doing))
