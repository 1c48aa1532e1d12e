"""How often the gate's rule errs, simulated from blocks on: processes that differ, noisy blocks, a drifting machine."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from paired import make_gate_case, make_pair
from scipy import stats

from stepbench.judge.gate import CHECKS, LOOKS, GateVerdict, is_decided, judge_case, judge_steps
from stepbench.records.gate import GateCase, GateSettings, Pair, Quad

GATES = 120
QUADS = 8
ANY_SLOWDOWN = GateSettings(threshold=1e-6)
"""With it, the estimate exceeds the threshold as often as not, so that the test alone keeps false alarms rare."""
IMPROBABLE = 0.001


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


@functools.cache
def rates(
    slowdown: float,
    machine: Machine,
    settings: GateSettings = ANY_SLOWDOWN,
    unit: Callable[[GateCase], GateCase] = pairs_alone,
    order: Order = drawn,
) -> dict[GateVerdict, int]:
    """The verdicts of simulated gates, each measured pair by pair until it is decided."""
    chance = random.Random(f"{slowdown}/{machine}")  # noqa: S311 - it draws noise.
    counts = dict.fromkeys(GateVerdict, 0)
    for _ in range(GATES):
        case = make_gate_case()
        for number in range(settings.pairs):
            pair = simulate_pair(number, slowdown, machine, chance, order)
            case = msgspec.structs.replace(case, pairs=(*case.pairs, pair))
            if number + 1 >= LOOKS[0] and is_decided(case, settings, 1):
                break
        counts[judge_case(unit(case), settings).verdict] += 1
    return counts


def errs_more_often_than_promised(alarms: int) -> bool:
    return bool(stats.binomtest(alarms, GATES, ANY_SLOWDOWN.false_alarms, alternative="greater").pvalue < IMPROBABLE)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_identical_code_is_called_a_regression_no_more_often_than_promised(machine: Machine) -> None:
    assert not errs_more_often_than_promised(rates(0.0, machine)[GateVerdict.REGRESSION])


@pytest.mark.parametrize("drawn_from", ["normal", "heavy tails"])
def test_of_many_gates_of_identical_code_the_promised_share_is_called_slower(drawn_from: str) -> None:
    """From pairs on, so that there can be enough gates to tell the promise from twice as many."""
    gates, alarms = 4000, 0
    chance = np.random.default_rng(seed=1)
    noise = chance.standard_normal if drawn_from == "normal" else functools.partial(chance.standard_t, 4)
    for _ in range(gates):
        logs = [float(log) for log in np.asarray(noise(ANY_SLOWDOWN.pairs))]
        alarms += any(judge_steps(logs[: look + 1], ANY_SLOWDOWN)[0] is GateVerdict.REGRESSION for look in LOOKS)
    promised = ANY_SLOWDOWN.false_alarms / CHECKS
    assert stats.binomtest(alarms, gates, promised, alternative="greater").pvalue > IMPROBABLE


def test_pooling_blocks_would_break_that_promise() -> None:
    machine = MACHINES[1]
    assert errs_more_often_than_promised(rates(0.0, machine, unit=blocks_pooled)[GateVerdict.REGRESSION])


def test_measuring_base_always_first_would_break_it_where_the_machine_drifts() -> None:
    machine = MACHINES[3]
    assert errs_more_often_than_promised(rates(0.0, machine, order=in_turn)[GateVerdict.REGRESSION])


@pytest.mark.parametrize("machine", MACHINES[:1] + MACHINES[3:], ids=str)
def test_5_percent_is_nearly_always_found_and_nothing_passes_nearly_always(machine: Machine) -> None:
    settings = GateSettings()
    assert rates(0.05, machine, settings)[GateVerdict.REGRESSION] >= 0.95 * GATES
    unchanged = rates(0.0, machine, settings)
    assert unchanged[GateVerdict.PASS] >= 0.9 * GATES
    assert unchanged[GateVerdict.REGRESSION] <= 0.01 * GATES


def test_a_slowdown_of_the_threshold_passes_no_more_often_than_promised() -> None:
    from stepbench.judge.gate import MISSED

    settings = GateSettings(threshold=0.02)
    passed = rates(0.02, MACHINES[0], settings)[GateVerdict.PASS]
    assert stats.binomtest(passed, GATES, MISSED, alternative="greater").pvalue > IMPROBABLE
