"""A diagnosis as people read it."""

from __future__ import annotations

from stepbench.judge.doctor import DoctorJudgement, DoctorVerdict
from stepbench.judge.finding import Severity
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table

HEADS = ("severity", "area", "found", "what to do")
_STYLES = {Severity.SPOILS: "red", Severity.HINDERS: "yellow", Severity.FINE: "dim"}


def blocks(diagnosis: DoctorJudgement) -> list[Block]:
    """A row a finding, the gravest first, and what it comes to."""
    found = diagnosis.findings
    rows = [(one.severity.value, one.area, one.what, one.remedy or formats.ABSENT) for one in found]
    styles = {number: _STYLES.get(one.severity, "") for number, one in enumerate(found)}
    return [text_table(HEADS, rows, HEADS, styles=styles), Paragraph(conclusion(diagnosis), style=BOLD)]


def conclusion(diagnosis: DoctorJudgement) -> str:
    """One sentence: whether results can be trusted here."""
    spoiling, hindering = diagnosis.count(Severity.SPOILS), diagnosis.count(Severity.HINDERS)
    match diagnosis.verdict:
        case DoctorVerdict.SPOILED:
            return f"Do not trust results from here: {_things(spoiling)} spoil{'s' * (spoiling == 1)} them."
        case DoctorVerdict.HINDERED:
            return f"Results from here can be trusted; {_things(hindering)} could be better."
        case DoctorVerdict.FIT:
            return "Results from here can be trusted."


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count} things"
