"""Which candidates run in the next heat of a race: from the heats that were held alone, so that a race can go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stepbench.judge.tune import Costs, Standing, log_time, log_times, raced
from stepbench.records.cases import Case
from stepbench.records.tune import Change, Race

MOST_KEPT = 3
"""Of a stage, that the next one tries its changes on."""
HOPELESS = 1.5
"""Times the leader's time: what looks to take as long is raced on, but nothing is tried on it."""
FEWEST_LOOKS = 2
"""At each candidate of the first stage, however short the time: fewer cannot show anybody to be slower."""
MOST_IN_A_HEAT = 10
"""Workers that may be resident together."""
LOOKS = 3
"""At each candidate in one stage; those left after it are raced to the end of the time."""
RACING_SHARE = 0.6
"""Of the budget. The rest measures the winner again and certifies it."""


@dataclass(frozen=True)
class NextHeat:
    """Who is to run next."""

    stage: int
    cases: tuple[Case, ...]


def next_heat(race: Race, costs: Costs[Case], failed: Iterable[Case]) -> NextHeat | None:
    """Who is to run next; None when there is nothing left to find out, or no time.

    Args:
        race: as far as it went.
        costs: what its candidates were measured to cost.
        failed: those that could not be measured.
    """
    stage = race.heats[-1].stage if race.heats else 0
    state = _State(race, costs, set(failed))
    while stage <= len(race.stages):
        field = state.field(stage)
        new = [case for case in field if case not in costs]
        racing = [case for case in field if case in new or case in state.now.racing]
        heat = NextHeat(stage, state.line_up(racing, stage))
        if state.is_out_of_time(heat):
            return None
        if new or (len(racing) > 1 and not state.is_over(stage, racing)):
            return heat
        stage += 1
    return None


class _State:
    """What follows from the heats that were held."""

    def __init__(self, race: Race, costs: Costs[Case], failed: set[Case]) -> None:
        self._race = race
        self._costs = costs
        self._out = {one.variant for one in race.disqualified}
        self._failed = failed
        self.now = raced(race, costs)
        self._usable_s = race.budget_s * RACING_SHARE

    def field(self, stage: int) -> list[Case]:
        """Who takes part in a stage: the best of the stage before, and what its changes make of them."""
        last = stage == len(self._race.stages)
        before = raced(self._race, self._costs, [heat for heat in self._race.heats if heat.stage < stage])
        kept = before.racing[: MOST_IN_A_HEAT - 1] if last else self._kept(before) if stage else (self._race.default,)
        changed = () if last else self._changed(kept, stage)
        return [
            case
            for case in dict.fromkeys((*kept, *changed))
            if case not in self._failed and (case.variant not in self._out or case == self._race.default)
        ]

    def _kept(self, before: Standing[Case]) -> tuple[Case, ...]:
        """What the next stage tries its changes on."""
        hopeful = log_times(before, self._costs, self._race.default)
        most = min(hopeful.values(), default=0.0) + math.log(HOPELESS)
        return tuple(case for case in before.racing if hopeful[case] <= most)[:MOST_KEPT]

    def _changed(self, kept: Iterable[Case], stage: int) -> Iterator[Case]:
        for case in kept:
            for change in self._race.stages[stage].changes:
                if (found := change.applied(case)) and self._is_hopeful(case, change):
                    yield found

    def _is_hopeful(self, case: Case, change: Change) -> bool:
        """Whether each part of a change of several settings was tried alone, and looks hopeless in none."""
        if len(change.settings) < 2:  # noqa: PLR2004 - a part of itself.
            return True
        return all(self._looks_fast(Change(settings=(one,)).applied(case)) for one in change.settings)

    def _looks_fast(self, case: Case | None) -> bool:
        if case is None or case not in self._costs or self.now.leader is None:
            return False
        mine, best = (log_time(self._costs, one, self._race.default) for one in (case, self.now.leader))
        return mine <= best + math.log(HOPELESS)

    def line_up(self, racing: Sequence[Case], stage: int) -> tuple[Case, ...]:
        """The default, the leader, and of the others those who ran least."""
        first = dict.fromkeys(filter(None, (self._race.default, self.now.leader)))
        ran = {case: self._looks(case, stage) for case in racing}
        others = sorted((case for case in racing if case not in first), key=ran.__getitem__)
        return (*first, *others[: MOST_IN_A_HEAT - len(first)])

    def _looks(self, case: Case, stage: int) -> int:
        return sum(case in heat.cases for heat in self._race.heats if heat.stage == stage)

    def is_over(self, stage: int, racing: Sequence[Case]) -> bool:
        """Whether a stage has taken its looks, or its share of the time; the last one has all that is left."""
        stages = len(self._race.stages)
        if stage == stages:
            return False
        before = sum(heat.seconds for heat in self._race.heats if heat.stage < stage)
        share = (self._usable_s - before) / (stages + 1 - stage)
        spent = sum(heat.seconds for heat in self._race.heats) - before
        looks = min(self._looks(case, stage) for case in racing)
        return looks >= LOOKS or (spent >= share and (looks >= FEWEST_LOOKS or stage > 0))

    def is_out_of_time(self, heat: NextHeat) -> bool:
        """Whether the next heat would take longer than is left; the first one is held in any case."""
        if not self._race.heats:
            return False
        a_case = max(held.seconds / len(held.cases) for held in self._race.heats[-2:])
        return self._race.spent_s + a_case * len(heat.cases) > self._usable_s
