"""A diagnosis as people read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepbench.judge.doctor import DoctorJudgement, DoctorVerdict
from stepbench.judge.finding import Finding, Severity
from stepbench.report import formats
from stepbench.report.markdown import escape, table_lines
from stepbench.report.terminal import make_console

HEADS = ("severity", "area", "found", "what to do")
_STYLES = {Severity.SPOILS: "red", Severity.HINDERS: "yellow", Severity.FINE: "dim"}


def print_diagnosis(diagnosis: DoctorJudgement, console: Console | None = None) -> None:
    """Print a row a finding, the gravest first, and what it comes to."""
    console = console or make_console()
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, overflow="fold")
    for finding in diagnosis.findings:
        table.add_row(*map(Text, _cells(finding)), style=_STYLES.get(finding.severity, ""))
    console.print(table)
    console.print(Text(conclusion(diagnosis), style="bold", overflow="fold"))


def markdown(diagnosis: DoctorJudgement) -> str:
    """The same in GitHub's markdown."""
    table = table_lines(HEADS, "l" * len(HEADS), map(_cells, diagnosis.findings))
    lines = [*table, "", f"**{escape(conclusion(diagnosis))}**"]
    return "\n".join(lines) + "\n"


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


def _cells(finding: Finding) -> tuple[str, ...]:
    remedy = finding.remedy or formats.ABSENT
    return finding.severity.value, *map(formats.plain, (finding.area, finding.what, remedy))
