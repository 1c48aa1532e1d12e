"""A race held: heats of fresh processes, the ways that are checked on the way, the winner measured again, certified."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stepbench.engine.racing import next_heat
from stepbench.engine.rounds import Team, measure
from stepbench.engine.verify import verify
from stepbench.errors import StepbenchError
from stepbench.judge.training import Equivalence, Verdict
from stepbench.judge.tune import costs_of, gain, raced, recommended
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import Case, Plan, Verification
from stepbench.records.progress import Progress, Tell
from stepbench.records.run import Measurement
from stepbench.records.store import LOGS_FOLDER, Journal
from stepbench.records.tune import Disqualified, Heat, Race

ROUNDS = 4
"""Of a heat: its processes tell more than their blocks, of which the first ones are as good as any."""
CHECK = Verification(seeds=0, steps=30)
"""How a leader is looked at on the way: one step each from early points, no trainings."""
AGAIN = 5
"""Heats of the winner and the default, which had no part in the choice."""
ROUNDS_AGAIN = 9


@dataclass(frozen=True)
class Track:
    """Where a race is held."""

    known: Callable[[Plan], Sequence[Measurement]]
    """Takes the run's plan, to be written down, and gives what is measured of its cases."""
    keep: Callable[[Race], None]
    """Given the race whenever it goes on, to write it down."""
    journal: Journal
    folder: Path
    """The run's."""
    tell: Tell


def tune(race: Race, plan: Plan, track: Track) -> Race:
    """Hold a race to its end, from wherever it stands.

    Args:
        race: as far as it went.
        plan: of the run; its cases grow with the candidates.
        track: where its parts go.

    Raises:
        StepbenchError: when the default itself cannot be measured.
    """
    return _Tuning(race, plan, track).run()


class _Tuning:
    """A race on its way."""

    def __init__(self, race: Race, plan: Plan, track: Track) -> None:
        self._race = race
        self._plan = plan
        self._track = track
        self._began = time.monotonic() - race.spent_s

    def run(self) -> Race:
        """To the end: who leads may still be found to learn something else, and then the race goes on without it."""
        while not self._race.finished:
            self._hold_heats()
            winner = self._race.winner or self._choose()
            self._note(winner=winner)
            if winner != self._race.default:
                self._measure_again(winner)
            if winner == self._race.default or not self._is_faster(winner):
                self._note(winner=self._race.default, finished=True)
            else:
                self._certify(winner)
        return self._race

    def _note(self, **changed: object) -> None:
        spent_s = time.monotonic() - self._began
        self._race = msgspec.structs.replace(self._race, spent_s=spent_s, **changed)
        self._track.keep(self._race)

    def _known(self) -> Sequence[Measurement]:
        return self._track.known(self._plan)

    def _with_cases(self, *cases: Case) -> None:
        self._plan = self._plan.with_cases(tuple(dict.fromkeys((*self._plan.cases, *cases))))

    def _hold_heats(self) -> None:
        while self._race.winner is None:
            known = self._known()
            costs = costs_of(known, self._race.training_steps)
            self._check_default(known)
            leader = raced(self._race, costs).leader if self._race.heats else None
            heat = next_heat(self._race, costs, [found.case for found in known if found.failure])
            if heat is None:
                return
            if heat.stage and leader and not self._is_checked(leader, known):
                self._check(leader)
                continue
            done = self._hold(heat.cases, heat.stage, ROUNDS)
            self._note(heats=(*self._race.heats, done))

    def _check_default(self, known: Sequence[Measurement]) -> None:
        for found in known:
            if found.case == self._race.default and found.failure:
                raise StepbenchError(
                    f"{found.case.id}, which others are held against, cannot be measured "
                    f"({found.failure.kind}: {found.failure.message.removesuffix('.')}): mend that first."
                )

    def _hold(self, cases: tuple[Case, ...], stage: int, rounds: int) -> Heat:
        started = time.monotonic()
        number = len(self._race.heats) + len(self._race.again)
        self._with_cases(*cases)
        self._known()  # The plan is on disk before what is measured of it.
        what = f"heat {number + 1}, {len(cases)} candidates"
        self._track.tell(Progress(0, 0, what))
        logs = self._track.folder / LOGS_FOLDER
        measure(self._plan, [Team(number, cases, rounds)], self._track.journal, logs, self._told(what))
        return Heat(number, stage, cases, time.monotonic() - started)

    def _told(self, what: str) -> Tell:
        return lambda progress: self._track.tell(replace(progress, doing=f"{what}: {progress.doing}"))

    def _choose(self) -> Case:
        costs = costs_of(self._known(), self._race.training_steps)
        return recommended(raced(self._race, costs), costs, self._race.default)

    def _measure_again(self, winner: Case) -> None:
        while len(self._race.again) < AGAIN:
            done = self._hold((self._race.default, winner), len(self._race.stages), ROUNDS_AGAIN)
            self._note(again=(*self._race.again, done))

    def _is_faster(self, winner: Case) -> bool:
        """Whether it was shown when measured again; else there is no reason to change what there is."""
        found = gain(costs_of(self._known()), winner, self._race)
        return found is not None and (found.low or 0.0) > 1

    def _is_checked(self, leader: Case, known: Sequence[Measurement]) -> bool:
        """Whether the leader's way of executing, whose neighbours are tried next, is known to take the right step."""
        default = self._race.default.variant
        same = (found for found in known if found.case.variant == leader.variant)
        return leader.variant == default or any(found.agreement or found.verification_failure for found in same)

    def _check(self, leader: Case) -> None:
        self._judge(leader, self._verified(leader, CHECK))

    def _certify(self, winner: Case) -> None:
        left_s = max(0.0, self._race.budget_s - (time.monotonic() - self._began))
        if not self._judge(winner, self._verified(winner, self._plan.verification or Verification(), left_s)):
            self._note(winner=None, again=(), heats=(*self._race.heats, *self._race.again))
            return
        self._note(finished=True)

    def _verified(self, case: Case, settings: Verification, left_s: float | None = None) -> Equivalence:
        """The verdict on a case: of its step alone, or of trainings too, for which another one is needed."""
        cases = {case.anchor, case} if settings.seeds else {case}
        self._with_cases(*cases)
        plan, track = msgspec.structs.replace(self._plan, verification=settings), self._track
        # What was looked at on the way has had few points.
        todo = [msgspec.structs.replace(found, agreement=None) for found in self._known() if found.case in cases]
        verify(plan, todo, track.journal, track.folder, track.tell, budget_s=left_s)
        return judge_cases([found for found in self._known() if found.case in cases], settings)[case]

    def _judge(self, case: Case, found: Equivalence) -> bool:
        """Whether a case may stay; else its way of executing is out."""
        if found.verdict is not Verdict.DIFFERENT:
            return True
        out = Disqualified(case.variant, "; ".join(found.why), time.monotonic() - self._began)
        self._note(disqualified=(*self._race.disqualified, out))
        return False
