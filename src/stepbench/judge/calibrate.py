"""How often gates of known truth were right on this machine."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import msgspec

from stepbench.judge.gate import LOOKS, GateVerdict, judge_case, judge_steps, log_ratio, may_stop
from stepbench.judge.statistics import CONFIDENCE, Estimate
from stepbench.records.gate import CalibrationGate, GateSettings


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts of all gates with one planted slowdown."""

    slowdown: float
    """Planted in head, as a share; 0 for identical code."""
    gates: int
    verdicts: dict[GateVerdict, int]
    found: Estimate
    """The share called regressions: of identical code, false alarms. Interval by Clopper and Pearson."""
    seconds: float
    """A gate takes, on average."""


CURVE = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1)
"""Slowdowns at which the power curve is computed."""
RESAMPLED = 400
"""Gates for each."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the power curve."""

    slowdown: float
    found: float
    """The share of resampled gates that call it a regression."""


def power_curve(gates: Sequence[CalibrationGate], settings: GateSettings) -> tuple[Power, ...]:
    """How often gates of any slowdown would be right, by resampling all pairs' deviations from their gates' means.

    The bootstrap of Efron (Annals of Statistics 7, 1979), with pairs as the units. A gate's deviations are widened by
    what taking its own mean away has narrowed them.
    """
    deviations = [deviation for gate in gates for deviation in _deviations(gate)]
    if not deviations:
        return ()
    chance = random.Random(0)  # noqa: S311 - it resamples.
    pairs = _affordable(gates, settings)
    return tuple(
        Power(
            slowdown=slowdown,
            found=statistics.fmean(
                _resampled(math.log1p(slowdown), pairs, deviations, settings, chance) is GateVerdict.REGRESSION
                for _ in range(RESAMPLED)
            ),
        )
        for slowdown in CURVE
    )


def _deviations(gate: CalibrationGate) -> list[float]:
    logs = [log_ratio(pair) for pair in gate.found.pairs]
    if len(logs) < LOOKS[0]:
        return []
    mean, widened = statistics.fmean(logs), math.sqrt(len(logs) / (len(logs) - 1))
    return [widened * (log - mean) for log in logs]


def _affordable(gates: Sequence[CalibrationGate], settings: GateSettings) -> int:
    """How many pairs a gate has time for."""
    seconds = statistics.fmean(pair.seconds for gate in gates for pair in gate.found.pairs)
    return max(LOOKS[0], min(settings.pairs, int(settings.budget_s / seconds)))


def _resampled(
    log: float, pairs: int, deviations: Sequence[float], settings: GateSettings, chance: random.Random
) -> GateVerdict:
    logs: list[float] = []
    verdict = GateVerdict.INCONCLUSIVE
    while len(logs) < pairs:
        logs.append(log + chance.choice(deviations))
        if len(logs) >= LOOKS[0]:
            verdict, _ = judge_steps(logs, settings)
            if may_stop(logs, verdict, settings):
                break
    return verdict


def rates(gates: Sequence[CalibrationGate], settings: GateSettings) -> tuple[Rate, ...]:
    """A rate for each planted slowdown, smallest first."""
    slowdowns = sorted({gate.slowdown for gate in gates})
    return tuple(
        _rate(slowdown, [gate for gate in gates if gate.slowdown == slowdown], settings) for slowdown in slowdowns
    )


def _rate(slowdown: float, gates: Sequence[CalibrationGate], settings: GateSettings) -> Rate:
    judged = [judge_case(gate.found, settings) for gate in gates]
    verdicts = {verdict: sum(case.verdict is verdict for case in judged) for verdict in GateVerdict}
    return Rate(
        slowdown=slowdown,
        gates=len(gates),
        verdicts={verdict: count for verdict, count in verdicts.items() if count},
        found=share(verdicts[GateVerdict.REGRESSION], len(gates)),
        seconds=sum(case.seconds for case in judged) / len(gates),
    )


def share(count: int, of: int) -> Estimate:
    """A share with its exact binomial interval (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy import stats

    interval = stats.binomtest(count, of).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(count / of, float(interval.low), float(interval.high), CONFIDENCE)
