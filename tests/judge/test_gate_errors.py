"""How often the gate's rule errs, simulated from blocks on: processes that differ, noisy blocks, a drifting machine."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from chances import most
from paired import make_gate_case, make_pair

from stepbench.judge import gate
from stepbench.judge.gate import CHECKS, LOOKS, Company, GateVerdict, is_decided, judge_case, judge_steps, may_stop
from stepbench.judge.moderated import NOTHING, Prior, prior_of
from stepbench.records.gate import GateCase, GateSettings, Pair, Quad

SEVERAL, MANY = 40, 400
"""Gates: so many as to find what errs much too often, and more than is promised."""
QUADS = 8
ANY_SLOWDOWN = GateSettings(threshold=1e-6)
"""With it, the estimate exceeds the threshold as often as not, so that the test alone keeps false alarms rare."""


@dataclass(frozen=True)
class Machine:
    """What makes times of identical code differ, all as standard deviations or shares of a step's time."""

    between: float
    """From one pair of processes to another (tau)."""
    within: float
    """From block to block (sigma)."""
    drift: float = 0.0
    """A block takes longer than the one before it."""


MACHINES = (
    Machine(between=0.015, within=0.03),
    Machine(between=0.03, within=0.01),
    Machine(between=0.0, within=0.1),
    Machine(between=0.005, within=0.03, drift=0.01),
)
FULL_SIZE = pytest.mark.slow
"""Simulated on every machine, and often enough to tell small departures from what is promised."""
SIMULATED = [
    pytest.param(machine, gates, id=f"{gates} {machine}", marks=FULL_SIZE if gates == MANY else ())
    for machine, gates in [(MACHINES[0], SEVERAL), (MACHINES[3], SEVERAL), *((machine, MANY) for machine in MACHINES)]
]
Order = Callable[[random.Random], str]


def drawn(chance: random.Random) -> str:
    return chance.choice(["bhhb", "hbbh"])


def in_turn(_: random.Random) -> str:
    return "bhbh"


def simulate_pair(number: int, slowdown: float, machine: Machine, chance: random.Random, order: Order) -> Pair:
    head = math.log1p(slowdown) + chance.gauss(0, machine.between)
    now = 0
    quads = []
    for _ in range(QUADS):
        blocks: dict[str, list[float]] = {"b": [], "h": []}
        for side in order(chance):
            log = machine.drift * now + chance.gauss(0, machine.within) + (head if side == "h" else 0.0)
            blocks[side].append(math.exp(log))
            now += 1
        quads.append(Quad((blocks["b"][0], blocks["b"][1]), (blocks["h"][0], blocks["h"][1])))
    return make_pair(number=number, quads=tuple(quads))


def pairs_alone(case: GateCase) -> GateCase:
    return case


def blocks_pooled(case: GateCase) -> GateCase:
    """The wrong unit of inference: every quad counts as if it came from processes of its own."""
    singles = (msgspec.structs.replace(pair, quads=(quad,)) for pair in case.pairs for quad in pair.quads)
    return msgspec.structs.replace(case, pairs=tuple(singles))


@pytest.fixture(autouse=True)
def each_pair_is_averaged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate does so at every look, which takes most of a simulation's time."""
    monkeypatch.setattr(gate, "log_ratio", functools.lru_cache(64)(gate.log_ratio))


@functools.cache
def rates(
    slowdown: float,
    machine: Machine,
    settings: GateSettings = ANY_SLOWDOWN,
    gates: int = SEVERAL,
    unit: Callable[[GateCase], GateCase] = pairs_alone,
    order: Order = drawn,
) -> dict[GateVerdict, int]:
    """The verdicts of simulated gates, each measured pair by pair until it is decided."""
    chance = random.Random(f"{slowdown}/{machine}")  # noqa: S311 - it draws noise.
    counts = dict.fromkeys(GateVerdict, 0)
    for _ in range(gates):
        case = make_gate_case()
        for number in range(settings.pairs):
            pair = simulate_pair(number, slowdown, machine, chance, order)
            case = msgspec.structs.replace(case, pairs=(*case.pairs, pair))
            if number + 1 >= LOOKS[0] and is_decided(case, settings):
                break
        counts[judge_case(unit(case), settings).verdict] += 1
    return counts


def errs_more_often_than_promised(alarms: int, gates: int = SEVERAL) -> bool:
    return alarms > most(ANY_SLOWDOWN.false_alarms, gates)


@pytest.mark.parametrize(("machine", "gates"), SIMULATED)
def test_identical_code_is_called_a_regression_no_more_often_than_promised(machine: Machine, gates: int) -> None:
    alarms = rates(0.0, machine, gates=gates)[GateVerdict.REGRESSION]
    assert not errs_more_often_than_promised(alarms, gates)


@pytest.mark.parametrize(
    ("drawn_from", "gates"),
    [
        ("normal", 1000),
        pytest.param("normal", 8000, marks=FULL_SIZE),
        pytest.param("heavy tails", 8000, marks=FULL_SIZE),
    ],
)
def test_of_many_gates_of_identical_code_the_promised_share_is_called_slower(drawn_from: str, gates: int) -> None:
    """From pairs on, so that there can be enough gates to tell the promise from twice as many."""
    alarms = 0
    chance = np.random.default_rng(seed=1)
    noise = chance.standard_normal if drawn_from == "normal" else functools.partial(chance.standard_t, 4)
    for _ in range(gates):
        logs = [float(log) for log in np.asarray(noise(ANY_SLOWDOWN.pairs))]
        alarms += any(judge_steps(logs[: look + 1], ANY_SLOWDOWN)[0] is GateVerdict.REGRESSION for look in LOOKS)
    promised = ANY_SLOWDOWN.false_alarms / CHECKS
    assert alarms <= most(promised, gates)


def test_pooling_blocks_would_break_that_promise() -> None:
    machine = MACHINES[1]
    alarms = rates(0.0, machine, unit=blocks_pooled, gates=60)[GateVerdict.REGRESSION]
    assert errs_more_often_than_promised(alarms, 60)


def test_measuring_base_always_first_would_break_it_where_the_machine_drifts() -> None:
    machine = MACHINES[3]
    assert errs_more_often_than_promised(rates(0.0, machine, order=in_turn)[GateVerdict.REGRESSION])


@pytest.mark.parametrize(("machine", "gates"), [*SIMULATED[:3], SIMULATED[-1]])
def test_5_percent_is_nearly_always_found_and_nothing_passes_nearly_always(machine: Machine, gates: int) -> None:
    settings = GateSettings()
    assert rates(0.05, machine, settings, gates)[GateVerdict.REGRESSION] >= 0.95 * gates
    unchanged = rates(0.0, machine, settings, gates)
    assert unchanged[GateVerdict.PASS] >= 0.9 * gates
    assert unchanged[GateVerdict.REGRESSION] <= 0.01 * gates


NINE = (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5)
"""How much the pairs of nine cases spread, as multiples of the usual spread."""
Lending = Callable[[Sequence[Sequence[float]]], Prior]


def gates_of_nine(gates: int, slowdown: float, settings: GateSettings, lending: Lending) -> tuple[int, float]:
    """Gates of nine cases whose noise is partly one and the same: how many find anything, and pairs a case takes."""
    chance = np.random.default_rng(seed=3)
    finding, pairs = 0, 0
    for _ in range(gates):
        shared = chance.normal(0, 1, settings.pairs)
        noise = [0.015 * spread * (shared + chance.normal(0, 1, settings.pairs)) / math.sqrt(2) for spread in NINE]
        logs: list[list[float]] = [[] for _ in NINE]
        verdicts: dict[int, GateVerdict] = {}
        for number in range(settings.pairs):
            live = [case for case in range(len(NINE)) if case not in verdicts]
            for case in live:
                logs[case].append(math.log1p(slowdown) + float(noise[case][number]))
            if number + 1 >= LOOKS[0]:
                company = Company(len(NINE), lending([found[: number + 1] for found in logs]))
                judged = {case: judge_steps(logs[case], settings, company)[0] for case in live}
                verdicts |= {case: found for case, found in judged.items() if may_stop(logs[case], found, settings)}
        finding += GateVerdict.REGRESSION in verdicts.values()
        pairs += sum(map(len, logs))
    return finding, pairs / gates / len(NINE)


def test_nine_cases_that_lend_each_other_their_spread_keep_the_promise_and_need_fewer_pairs() -> None:
    alarms, _ = gates_of_nine(100, 0.0, ANY_SLOWDOWN, prior_of)
    assert alarms <= most(ANY_SLOWDOWN.false_alarms / CHECKS, 100)
    found, pairs = gates_of_nine(10, 0.05, GateSettings(), prior_of)
    _, alone = gates_of_nine(10, 0.05, GateSettings(), lambda _: NOTHING)
    assert found == 10
    assert pairs < alone


def test_more_degrees_of_freedom_than_there_are_would_break_it() -> None:
    def too_many(logs: Sequence[Sequence[float]]) -> Prior:
        return Prior(prior_of(logs).variance, 1000.0, 1000.0)

    alarms, _ = gates_of_nine(100, 0.0, ANY_SLOWDOWN, too_many)
    assert alarms > most(ANY_SLOWDOWN.false_alarms / CHECKS, 100)


def wrongly_passed(gates: int, spread: float) -> int:
    """Of gates of a slowdown as large as the threshold, whose time is up after any number of pairs, those that pass."""
    settings, chance = GateSettings(), np.random.default_rng(seed=2)
    passed = 0
    for _ in range(gates):
        logs = [float(log) for log in math.log1p(settings.threshold) + chance.normal(0, spread, settings.pairs)]
        last = int(chance.integers(LOOKS[0], settings.pairs + 1))
        looks = [*(look for look in LOOKS if look < last), last]
        passed += any(judge_steps(logs[:look], settings)[0] is GateVerdict.PASS for look in looks)
    return passed


@pytest.mark.parametrize("spread", [0.003, 0.02])
def test_it_passes_no_more_often_however_long_it_is_given(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrongly_passed(1000, spread) <= most(gate.MISSED, 1000)
    monkeypatch.setattr(gate, "MISSED", gate.MISSED * (len(LOOKS) + 1))  # To each look all of it.
    assert wrongly_passed(1000, spread) > most(0.1, 1000)


@pytest.mark.parametrize("gates", [SEVERAL, pytest.param(MANY, marks=FULL_SIZE)])
def test_a_slowdown_of_the_threshold_passes_no_more_often_than_promised(gates: int) -> None:
    from stepbench.judge.gate import MISSED

    settings = GateSettings(threshold=0.02)
    passed = rates(0.02, MACHINES[0], settings, gates)[GateVerdict.PASS]
    assert passed <= most(MISSED, gates)
