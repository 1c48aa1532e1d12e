"""How often gates were right, as people read it."""

from __future__ import annotations

import msgspec

from stepbench.judge.calibrate import Power, Rate, power_curve, rates
from stepbench.judge.gate import GateVerdict
from stepbench.records.gate import Calibration
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table

HEADS = ("planted", "gates", "regression", "pass", "inconclusive", "found, 95 %", "a gate takes")


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration found, as JSON."""

    schema: int = 1
    calibration_id: str
    case: str
    threshold: float
    rates: tuple[Rate, ...]
    power: tuple[Power, ...]


def calibrated(calibration: Calibration) -> Calibrated:
    """What a calibration found."""
    return Calibrated(
        calibration_id=calibration.calibration_id,
        case=calibration.plan.cases[0].id,
        threshold=calibration.settings.threshold,
        rates=rates(calibration.gates, calibration.settings),
        power=power_curve(calibration.gates, calibration.settings),
    )


def blocks(found: Calibrated) -> list[Block]:
    """A row for each planted slowdown, and the power curve."""
    table = text_table(HEADS, list(map(_cells, found.rates)))
    return [Paragraph(headline(found), style=BOLD), table, Paragraph(_curve(found))]


def _curve(found: Calibrated) -> str:
    planted = [f"{point.slowdown:+.0%}" if point.slowdown else "nothing" for point in found.power]
    shares = ", ".join(f"{point.found:.0%} with {it}" for point, it in zip(found.power, planted, strict=True))
    return f"By resampling these pairs, this share of gates would call a regression: {shares}." if shares else ""


def quote(known: Calibration | None) -> str:
    """One sentence on how often gates are right on this machine, for the report of a gate."""
    measured = rates(known.gates, known.settings) if known else ()
    if known is None or not measured:
        return "how often gates are right on this machine is not known: 'stepbench calibrate' measures it"
    found = [f"{rate.verdicts.get(GateVerdict.REGRESSION, 0)} of {rate.gates} {_planted(rate)}" for rate in measured]
    about = f"gates of {known.plan.cases[0].id} with a threshold of {known.settings.threshold:.1%}"
    return f"on this machine, {about} have called a regression: {', '.join(found)}"


def _planted(rate: Rate) -> str:
    return f"with {rate.slowdown:+.1%} planted" if rate.slowdown else "of identical code"


def headline(found: Calibrated) -> str:
    """What was calibrated."""
    return f"calibration {found.calibration_id}: gates of {found.case}, threshold {found.threshold:.1%}"


def _cells(rate: Rate) -> tuple[str, ...]:
    def count(verdict: GateVerdict) -> str:
        return str(rate.verdicts.get(verdict, 0))

    low, high = rate.found.low or 0.0, rate.found.high or 0.0
    return (
        f"{rate.slowdown:+.1%}" if rate.slowdown else "nothing",
        str(rate.gates),
        count(GateVerdict.REGRESSION),
        count(GateVerdict.PASS),
        count(GateVerdict.INCONCLUSIVE),
        f"{rate.found.value:.0%} [{low:.0%}, {high:.0%}]",
        formats.seconds(rate.seconds),
    )
