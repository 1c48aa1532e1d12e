"""Races with known truth: the best stays, the slow leave, and what chose is not what is told."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from chances import most
from races import SEED, Noise, a_race, default_case, held

from stepbench.engine import racing
from stepbench.engine.racing import next_heat
from stepbench.judge import tune
from stepbench.records.cases import Case, Precision
from stepbench.records.tune import Disqualified, Heat

RACES = 40


def close(case: Case) -> float:
    """A truth in which much is close: ways a few per cent apart, and small gains of what is tried on them."""
    ways = {"graph": 0.0, "xla": 0.03, "eager": 0.06}
    kinds = {Precision.FLOAT32: 0.02, Precision.MIXED_BFLOAT16: 0.0, Precision.MIXED_FLOAT16: 0.04}
    gains = -0.02 * (case.steps_per_call > 1) + 0.03 * len(case.settings)
    return ways[case.variant.execution] + kinds[case.variant.precision] + gains


def far(case: Case) -> float:
    """A truth as it is on a CPU: one way is far ahead."""
    ways = {"graph": 0.0, "xla": 1.0, "eager": 1.4}
    kinds = {Precision.FLOAT32: 0.35, Precision.MIXED_BFLOAT16: 0.0, Precision.MIXED_FLOAT16: 3.0}
    return close(case) + ways[case.variant.execution] + kinds[case.variant.precision]


def alike(case: Case) -> float:
    """A truth in which the best is the best by next to nothing."""
    return 0.001 * close(case)


NOISES = {
    "usual": Noise(),
    "loud": Noise(process=0.08),
    "unequal": Noise(unequal=True),
    "spells": Noise(spells=0.1),
    "drift": Noise(heat=0.2),
    "dependent": Noise(together=0.4),
}


def thrown_out(truth: Callable[[Case], float], noise: Noise, races: int = RACES) -> int:
    """How many of the races threw out the best of those who took part."""
    generator = np.random.default_rng(SEED)
    draw = noise.drawn(truth)
    count = 0
    for _ in range(races):
        finish = held(a_race(), draw, generator)
        count += min(finish.costs, key=truth) in finish.standing.left
    return count


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_the_best_is_thrown_out_as_rarely_as_is_said(noise: Noise) -> None:
    for truth in (alike, close):
        assert thrown_out(truth, noise) <= most(tune.ERROR, RACES)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        pytest.param("ERROR", 4.0, id="each comparison errs as the whole race may"),
        pytest.param("ASSUMED", 0.0, id="processes are assumed to be all alike"),
    ],
)
def test_a_wrong_rule_would_be_seen(what: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, what, value)
    assert thrown_out(alike, NOISES["loud"]) > most(0.05, RACES)


def test_what_is_far_behind_leaves_and_what_is_ahead_is_chosen() -> None:
    generator = np.random.default_rng(SEED)
    for _ in range(20):
        finish = held(a_race(), Noise().drawn(far), generator)
        assert finish.choice.variant.precision is Precision.MIXED_BFLOAT16
        assert finish.choice.variant.execution == "graph"
        assert far(finish.choice) - min(map(far, finish.costs)) < 0.03
        slow = [case for case in finish.costs if far(case) > 0.5]
        assert set(slow) <= finish.standing.left.keys()


def test_what_is_told_is_measured_again_and_so_not_too_good() -> None:
    """Where all are alike, what looks best was lucky: its own heats flatter it, fresh ones do not."""
    generator = np.random.default_rng(SEED)
    draw = Noise(process=0.04).drawn(lambda _: 0.0)
    flattered, honest = [], []
    for _ in range(RACES):
        finish = held(a_race(), draw, generator)
        if finish.choice != default_case() and finish.by_race and finish.again:
            flattered.append(math.log(finish.by_race.value))
            honest.append(math.log(finish.again.value))
    certain = 3.5 * np.std(honest) / math.sqrt(len(honest))
    assert abs(np.mean(honest)) < certain
    assert np.mean(flattered) > certain, "or nothing was gained by measuring again"


def test_a_race_ends_in_its_share_of_the_budget() -> None:
    generator = np.random.default_rng(SEED)
    for budget_s in (60.0, 300.0, 900.0):
        finish = held(a_race(budget_s), Noise().drawn(close), generator)
        first, *later = finish.race.heats
        assert later or budget_s < 300
        assert finish.race.spent_s <= max(first.seconds, racing.RACING_SHARE * budget_s)


def test_the_same_heats_lead_to_the_same_next_one() -> None:
    """So a race that was cut short goes on as it would have."""
    generator = np.random.default_rng(SEED)
    finish = held(a_race(), Noise().drawn(close), generator)
    for cut in range(len(finish.race.heats)):
        heats = finish.race.heats[:cut]
        until = {
            case: kept
            for case, found in finish.costs.items()
            if (kept := {number: cost for number, cost in found.items() if number < cut})
        }
        spent_s = sum(heat.seconds for heat in heats)
        race = msgspec.structs.replace(finish.race, heats=heats, spent_s=spent_s)
        following = next_heat(race, until, ())
        assert following
        assert following.cases == finish.race.heats[cut].cases


def test_who_is_disqualified_has_beaten_nobody() -> None:
    """What left because of it is back in the race."""
    generator = np.random.default_rng(SEED)

    def cheating(case: Case) -> float:
        return far(case) - 2.0 * (case.variant.execution == "xla")

    draw = Noise().drawn(cheating)
    race, costs = a_race(), dict[Case, dict[int, float]]()
    for number in range(3):
        heat = next_heat(race, costs, ())
        assert heat
        for case, cost in draw(generator, heat.cases).items():
            costs.setdefault(case, {})[number] = cost
        race = msgspec.structs.replace(race, heats=(*race.heats, Heat(number, heat.stage, heat.cases, 40.0)))
    found = tune.raced(race, costs)
    assert found.leader
    assert found.leader.variant.execution == "xla"
    assert default_case() in found.left
    out = [
        Disqualified(case.variant, "another learning rate", 1.0) for case in costs if case.variant.execution == "xla"
    ]
    fair = tune.raced(msgspec.structs.replace(race, disqualified=tuple(out)), costs)
    assert fair.leader
    assert fair.leader.variant.execution == "graph"
    following = next_heat(msgspec.structs.replace(race, disqualified=tuple(out), budget_s=1e4), costs, ())
    assert following
    assert not [case for case in following.cases if case.variant.execution == "xla"]


def test_what_failed_is_not_run_again() -> None:
    failed = [default_case().reference]
    heat = next_heat(a_race(), {}, failed)
    assert heat
    assert failed[0] not in heat.cases
    assert heat.cases[0] == default_case()


def test_nothing_left_to_compare_ends_the_race() -> None:
    race = msgspec.structs.replace(a_race(), stages=())
    costs = {default_case(): {0: math.log(0.01)}}
    done = msgspec.structs.replace(race, heats=(Heat(0, 0, (default_case(),), 5.0),))
    assert next_heat(done, costs, ()) is None
