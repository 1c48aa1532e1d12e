from __future__ import annotations

import random

import pytest
from paired import make_gate_case, make_pairs, noisy_pairs

from stepbench.judge import calibrate
from stepbench.judge.calibrate import CURVE, power_curve, rates, share
from stepbench.judge.gate import GateVerdict
from stepbench.records.gate import CalibrationGate, GateSettings

SETTINGS = GateSettings()
SLOWER = make_gate_case(*noisy_pairs(0.1))
SAME = make_gate_case(*noisy_pairs(count=4))
UNDECIDED = make_gate_case(*noisy_pairs(0.1, 4))


def test_a_rate_counts_the_verdicts_of_its_slowdown_smallest_first() -> None:
    found = [SLOWER, SLOWER, UNDECIDED]
    gates = [*(CalibrationGate(0.1, gate) for gate in found), *(CalibrationGate(0.0, SAME) for _ in range(5))]
    nothing, slower = rates(gates, SETTINGS)
    assert (nothing.slowdown, nothing.gates, nothing.verdicts) == (0.0, 5, {GateVerdict.PASS: 5})
    assert (slower.slowdown, slower.gates) == (0.1, 3)
    assert slower.verdicts == {GateVerdict.REGRESSION: 2, GateVerdict.INCONCLUSIVE: 1}
    assert nothing.found.value == 0
    assert slower.found.value == pytest.approx(2 / 3)
    assert nothing.seconds == 48
    assert slower.seconds == pytest.approx((60 + 60 + 48) / 3)


def test_without_gates_that_were_decided_there_are_neither_rates_nor_a_curve() -> None:
    assert rates((), SETTINGS) == ()
    assert power_curve([CalibrationGate(0.0, make_gate_case(*noisy_pairs(count=3)))], SETTINGS) == ()


@pytest.mark.parametrize(("count", "of"), [(0, 1), (0, 20), (1, 20), (19, 20), (20, 20), (7, 400)])
def test_a_shares_interval_is_clopper_and_pearsons(count: int, of: int) -> None:
    from scipy import stats

    found = share(count, of)
    low = stats.beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    assert found.value == count / of
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.fixture(autouse=True)
def few_gates_are_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "RESAMPLED", 60)


def calibrated_with_a_spread_of(spread: float) -> dict[float, float]:
    chance = random.Random(1)  # noqa: S311 - it draws noise.
    gates = [
        CalibrationGate(0.05, make_gate_case(*make_pairs(*(0.05 + chance.gauss(0, spread) for _ in range(8)))))
        for _ in range(40)
    ]
    return {point.slowdown: point.found for point in power_curve(gates, SETTINGS)}


def test_the_power_curve_rises_from_nothing_to_certainty_and_more_slowly_with_more_noise() -> None:
    quiet, noisy = calibrated_with_a_spread_of(0.015), calibrated_with_a_spread_of(0.04)
    assert list(quiet) == list(CURVE)
    assert quiet[0.0] <= 0.01
    assert quiet[0.05] >= 0.95
    assert quiet[0.03] > noisy[0.03] > noisy[0.01]
    assert noisy[0.05] < quiet[0.05]
