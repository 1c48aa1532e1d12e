"""Who leaves a race for the fastest way to run a step, and what is said of those who stay.

Candidates run in heats: each in a fresh process, side by side with the leader. After each heat those are out that are
shown to be slower than the leader by their paired differences: a blocking race (Moore and Lee, International
Conference on Machine Learning 1994; F-race: Birattari, Stützle, Paquete and Varrentrapp, GECCO 2002) with a t test
whose variance is borrowed across candidates (:mod:`stepbench.judge.moderated`). The chance to throw the best out is at
most :data:`ERROR` in all: each stage gets an equal share of it, each comparison in a stage an equal share of that
(Bonferroni), and the l-th look at a comparison 1/(l(l+1)) of what it has, which adds up to one over all looks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stepbench.judge.moderated import Prior, prior_of, spread_of
from stepbench.judge.statistics import Estimate, from_logs, log_estimate, replicate_log, t_quantile
from stepbench.records.cases import Case
from stepbench.records.run import Measurement
from stepbench.records.tune import Heat, Race

ERROR = 0.05
"""The chance to throw the best out, over all looks, candidates and stages."""
ASSUMED, ASSUMED_DEGREES = 0.05, 4
"""The standard deviation of a difference between two processes before a race has shown its own, and the degrees of
freedom that it is worth: one heat is then enough to tell what takes half as long again, and no more than that."""
NEGLIGIBLE = 0.01
"""As much slower than the leader a simpler candidate may look and be preferred to it."""

KeyT = TypeVar("KeyT", bound=Hashable)
Costs = Mapping[KeyT, Mapping[int, float]]
"""Of each candidate the logarithm of what an example costs, by the number of the heat."""


@dataclass(frozen=True)
class Held:
    """A heat that was held."""

    number: int
    stage: int


@dataclass(frozen=True)
class Left(Generic[KeyT]):
    """A candidate that is out."""

    heat: int
    """After which."""
    leader: KeyT
    ratio: Estimate
    """How many times slower than the leader it is."""


@dataclass(frozen=True)
class Standing(Generic[KeyT]):
    """A race after some heats."""

    racing: tuple[KeyT, ...] = ()
    """Fastest first."""
    left: dict[KeyT, Left[KeyT]] = field(default_factory=dict)

    @property
    def leader(self) -> KeyT | None:
        """The fastest so far."""
        return self.racing[0] if self.racing else None


def standing(costs: Costs[KeyT], heats: Sequence[Held], default: KeyT, stages: int) -> Standing[KeyT]:
    """The race after ``heats``.

    Args:
        costs: of all candidates that are not disqualified; the default has one in every heat.
        heats: in their order.
        default: what the others are held against to put them in order.
        stages: as many as share the error.
    """
    left: dict[KeyT, Left[KeyT]] = {}
    racing: list[KeyT] = []
    known: dict[KeyT, dict[int, float]] = {}
    for count, heat in enumerate(heats, 1):
        present = [key for key, found in costs.items() if heat.number in found]
        for key in present:
            known.setdefault(key, {})[heat.number] = costs[key][heat.number]
        times = {key: log_time(known, key, default) for key in known if key not in left}
        racing = sorted(times, key=times.__getitem__)
        if rivals := [key for key in racing if heat.number in known[key]]:
            share = ERROR / stages / max(1, len(known) - 1)
            in_stage = [held for held in heats[:count] if held.stage == heat.stage]
            left |= _shown_slower(known, rivals, in_stage, share)
    return Standing(tuple(key for key in racing if key not in left), left)


def log_time(known: Costs[KeyT], key: KeyT, default: KeyT) -> float:
    """How much more a candidate costs than the default, by the heats that both were in."""
    return statistics.fmean(differences(known, key, default) or [math.inf])


def differences(costs: Costs[KeyT], key: KeyT, other: KeyT) -> list[float]:
    """How much more one candidate cost than another in each heat that both were in."""
    theirs = costs[other]
    return [cost - theirs[number] for number, cost in costs[key].items() if number in theirs]


def _shown_slower(
    known: Costs[KeyT], present: Sequence[KeyT], in_stage: Sequence[Held], share: float
) -> dict[KeyT, Left[KeyT]]:
    """Those present that are slower than the first of them, as far as this look at each comparison may err."""
    leader, *others = present
    samples = {key: differences(known, key, leader) for key in others}
    prior, assumed = prior_of(samples.values()), Prior(ASSUMED**2, ASSUMED_DEGREES, ASSUMED_DEGREES)
    found = {}
    for key, values in samples.items():
        looks = sum(held.number in known[key] and held.number in known[leader] for held in in_stage)
        deviation, degrees = spread_of(values, prior, assumed)
        mean, error = statistics.fmean(values), share / (looks * (looks + 1))
        if mean > t_quantile(1 - error, degrees) * deviation:
            ratio = log_estimate(mean, deviation, degrees, 1 - 2 * error)
            found[key] = Left(in_stage[-1].number, leader, ratio)
    return found


def costs_of(measurements: Iterable[Measurement], training_steps: int | None = None) -> dict[Case, dict[int, float]]:
    """What an example costs in seconds, as logarithms, in each heat of each candidate that has not failed.

    Args:
        measurements: of the run.
        training_steps: over which the first call is spread; if None, it is left out.
    """
    costs = {found.case: _of_heats(found, training_steps) for found in measurements if not found.failure}
    return {case: found for case, found in costs.items() if found}


def _of_heats(found: Measurement, training_steps: int | None) -> dict[int, float]:
    costs = {}
    for replicate in found.replicates:
        if replicate.blocks:
            first_call_s = replicate.phases.first_call_s / training_steps if training_steps else 0.0
            costs[replicate.number] = math.log(
                (math.exp(replicate_log(replicate)) + first_call_s) / found.case.batch_size
            )
    return costs


def raced(race: Race, costs: Costs[Case], heats: Sequence[Heat] | None = None) -> Standing[Case]:
    """A race after its heats, or some of them, without those who are disqualified."""
    out = {one.variant for one in race.disqualified}
    fair = {case: found for case, found in costs.items() if case.variant not in out}
    held = [Held(heat.number, heat.stage) for heat in (race.heats if heats is None else heats)]
    return standing(fair, held, race.default, len(race.stages) + 1) if race.default in fair else Standing()


def gain(costs: Costs[Case], case: Case, race: Race) -> Estimate | None:
    """How many times as fast as the default a case is for an example, by the heats after the race, or those of it."""
    numbers = {heat.number for heat in race.again or race.heats}
    both = {
        one: {number: cost for number, cost in costs.get(one, {}).items() if number in numbers}
        for one in (race.default, case)
    }
    return from_logs(differences(both, race.default, case))


def departures(case: Case, default: Case) -> int:
    """In how many things a candidate differs from the default: what its user would have to change."""
    plain = (
        case.variant.execution != default.variant.execution,
        case.variant.precision != default.variant.precision,
        case.steps_per_call != default.steps_per_call,
        case.batch_size != default.batch_size,
    )
    return sum(plain) + len(set(case.settings) ^ set(default.settings))


def log_times(found: Standing[KeyT], costs: Costs[KeyT], default: KeyT) -> dict[KeyT, float]:
    """Of those still racing, the logarithm of how many times longer an example takes than by default."""
    return {key: log_time(costs, key, default) for key in found.racing}


def recommended(found: Standing[Case], costs: Costs[Case], default: Case) -> Case:
    """Of those still racing, the simplest that looks no slower than the leader; the default where nobody races."""
    times = log_times(found, costs, default)
    best = min(times.values(), default=0.0) + math.log1p(NEGLIGIBLE)
    close = [case for case, time in times.items() if time <= best]
    return min(close, key=lambda case: departures(case, default), default=default)
