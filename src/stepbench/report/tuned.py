"""What came of a race, derived from it and its run's measurements; its JSON is public."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from stepbench.judge.statistics import Estimate, from_logs, step_time
from stepbench.judge.training import Equivalence
from stepbench.judge.tune import Costs, Standing, costs_of, gain, raced
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import Case, Verification
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.records.tune import SCHEMA, Change, Race
from stepbench.report.apply import Applied, applied

UNIT = Estimate(1.0, 1.0, 1.0)
"""How many times as fast the default is as itself."""


class Baseline(msgspec.Struct, frozen=True):
    """What the user has."""

    id: str
    step_time_s: Estimate | None


class Winner(msgspec.Struct, frozen=True):
    """What to use."""

    id: str
    step_time_s: Estimate | None
    speedup: Estimate | None
    """Of an example, against the default, measured again after the race."""
    equivalence: Equivalence


class Challenger(msgspec.Struct, frozen=True):
    """A candidate that won the race and was not shown to be faster than the default when it was measured again."""

    id: str
    speedup: Estimate | None


class Elimination(msgspec.Struct, frozen=True):
    """A candidate that is out."""

    id: str
    why: str
    after_s: float


class Worth(msgspec.Struct, frozen=True):
    """What one change does to the time of an example, over all candidates that were raced with it and without it."""

    stage: str
    change: str
    ratio: Estimate
    """How many times faster it makes the step."""
    pairs: int
    """Of candidates."""


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """A race as reports show it."""

    schema: int = SCHEMA
    run_id: str
    budget_s: float
    spent_s: float
    finished: bool
    candidates: int
    """That took part, or would have, had there been time."""
    measured: int
    default: Baseline
    winner: Winner
    challenger: Challenger | None
    """Who looked fastest in the race, if that was not shown again."""
    ties: tuple[str, ...]
    """Others that are not shown to be slower, fastest first."""
    apply: Applied
    eliminated: tuple[Elimination, ...]
    worth: tuple[Worth, ...]


@dataclass(frozen=True)
class _Facts:
    """What all parts of it are derived from."""

    race: Race
    measurements: dict[Case, Measurement]
    costs: Costs[Case]
    standing: Standing[Case]

    @property
    def ends(self) -> dict[int, float]:
        """The seconds after which each heat of the race ended."""
        sums = itertools.accumulate(heat.seconds for heat in self.race.heats)
        return dict(zip((heat.number for heat in self.race.heats), sums, strict=True))


def summarize_race(race: Race, run: Run) -> Tuned:
    """Derive all that reports show of a race, as far as it went, from it and its run's measurements."""
    facts = _facts(race, run)
    winner = race.winner or facts.standing.leader or race.default
    out = {*facts.standing.left, winner, race.default}
    entered = {case for heat in race.heats for case in heat.cases}
    return Tuned(
        run_id=race.run_id,
        budget_s=race.budget_s,
        spent_s=race.spent_s,
        finished=race.finished,
        candidates=len(entered | set(_untried(facts))),
        measured=sum(bool(facts.costs.get(case)) for case in entered),
        default=Baseline(race.default.id, _step_time(facts, race.default)),
        winner=_winner(facts, winner, run),
        challenger=_challenger(facts),
        ties=tuple(case.id for case in facts.standing.racing if case not in out),
        apply=applied(winner, race.default, is_compiled=race.is_compiled),
        eliminated=tuple(_eliminated(facts)),
        worth=tuple(_worth(facts)),
    )


def _facts(race: Race, run: Run) -> _Facts:
    measurements = {found.case: found for found in run.measurements}
    costs = costs_of(run.measurements, race.training_steps)
    return _Facts(race, measurements, costs, raced(race, costs))


def _untried(facts: _Facts) -> Iterator[Case]:
    """What the stages that were not begun would have tried on the leader."""
    begun = facts.race.heats[-1].stage if facts.race.heats else -1
    leader = facts.standing.leader or facts.race.default
    for stage in facts.race.stages[begun + 1 :]:
        yield from filter(None, (change.applied(leader) for change in stage.changes))


def _winner(facts: _Facts, winner: Case, run: Run) -> Winner:
    settings = run.plan.verification or Verification()
    # As the engine judged it: a leader that was looked at on the way has no trainings for others to inherit.
    certified = [found for case, found in facts.measurements.items() if case in (winner, winner.anchor)]
    equivalence = judge_cases(certified, settings).get(winner, Equivalence())
    return Winner(winner.id, _step_time(facts, winner), _speedup(facts, winner), equivalence)


def _challenger(facts: _Facts) -> Challenger | None:
    race = facts.race
    measured = {case for heat in race.again for case in heat.cases} - {race.default}
    if race.winner != race.default or not measured:
        return None
    case = min(measured)
    return Challenger(case.id, _speedup(facts, case))


def _last(facts: _Facts) -> set[int]:
    """The heats that figures are told from: those that had no part in the choice, where there are any."""
    return {heat.number for heat in facts.race.again or facts.race.heats}


def _step_time(facts: _Facts, case: Case) -> Estimate | None:
    found = facts.measurements.get(case)
    if found is None or found.failure:
        return None
    numbers = _last(facts)
    replicates = tuple(one for one in found.replicates if one.number in numbers)
    return step_time(msgspec.structs.replace(found, replicates=replicates))


def _speedup(facts: _Facts, winner: Case) -> Estimate | None:
    if winner == facts.race.default:
        return UNIT
    return gain(costs_of(facts.measurements.values()), winner, facts.race)


def _eliminated(facts: _Facts) -> Iterator[Elimination]:
    ends = facts.ends
    for case, found in facts.measurements.items():
        if found.failure:
            number = max((one.number for one in found.replicates), default=None)
            after = ends.get(number, facts.race.spent_s) if number is not None else _entered_at(facts, case)
            yield Elimination(case.id, f"{found.failure.kind}: {found.failure.message}", after)
    for out in facts.race.disqualified:
        for case in facts.costs:
            if case.variant == out.variant:
                yield Elimination(case.id, f"converges differently: {out.why}", out.after_s)
    for case, left in facts.standing.left.items():
        ratio = left.ratio
        low = "" if ratio.low is None else f", at least {ratio.low:.3g}×"
        yield Elimination(case.id, f"{ratio.value:.3g}× the time of {left.leader.id}{low}", ends[left.heat])


def _entered_at(facts: _Facts, case: Case) -> float:
    return next((facts.ends[heat.number] for heat in facts.race.heats if case in heat.cases), facts.race.spent_s)


def _worth(facts: _Facts) -> Iterator[Worth]:
    """Main effects: of each change, over the candidates that ran side by side with and without it."""
    for stage in facts.race.stages:
        for change in stage.changes:
            pairs = list(_pairs(facts, change))
            logs = _by_heat(facts.costs, pairs)
            if ratio := from_logs(logs):
                yield Worth(stage.name, described(change), ratio, len(pairs))


def _pairs(facts: _Facts, change: Change) -> Iterator[tuple[Case, Case]]:
    """Candidates that are as the default is in what changes, and what the change makes of them."""
    for case in facts.costs:
        changed = change.applied(case)
        is_plain = change.undone(case, facts.race.default) == case
        if changed is not None and changed != case and changed in facts.costs and is_plain:
            yield case, changed


def _by_heat(costs: Costs[Case], pairs: Iterable[tuple[Case, Case]]) -> list[float]:
    """One figure a heat, the unit that others know nothing of: the mean over its pairs."""
    found: dict[int, list[float]] = {}
    for plain, changed in pairs:
        for number in costs[plain].keys() & costs[changed].keys():
            found.setdefault(number, []).append(costs[plain][number] - costs[changed][number])
    return [sum(values) / len(values) for _, values in sorted(found.items())]


def described(change: Change) -> str:
    """A change, for people."""
    parts: Mapping[str, object] = {
        "": "/".join(filter(None, (change.execution, change.precision))),
        "steps a call": change.steps_per_call,
        "batch size": change.batch_size,
    }
    words = [f"{value} {what}".strip() for what, value in parts.items() if value]
    return " ".join([*words, *map(str, change.settings)])
