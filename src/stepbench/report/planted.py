"""The table of ``verify --self-test``: which planted bugs were caught, and how."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepbench.judge.training import Verdict
from stepbench.records.cases import BUGS, INNOCENT
from stepbench.report.summary import CaseSummary, Summary
from stepbench.report.terminal import make_console


def print_self_test(summary: Summary, console: Console | None = None) -> bool:
    """Print the table; True when every applicable bug was caught and the innocent variant passed."""
    console = console or make_console()
    table = Table(box=None, pad_edge=False)
    for head in ("planted", "precision", "found", "because"):
        table.add_column(head, overflow="fold")
    cases = [case for case in summary.cases if case.execution in (INNOCENT, *BUGS)]
    cases.sort(key=lambda case: ((INNOCENT, *BUGS).index(case.execution), case.precision))
    for case in cases:
        found = _found(case)
        because = case.equivalence.why[0] if case.equivalence.why else ""
        cells = (BUGS.get(case.execution, "nothing"), case.precision, found, because)
        table.add_row(*map(Text, cells), style="" if _is_well(case) else "red")
    console.print(table)
    return all(map(_is_well, cases))


def _found(case: CaseSummary) -> str:
    if case.equivalence.verdict is Verdict.DIFFERENT:
        return "caught" if case.execution in BUGS else "FALSE ALARM"
    if case.equivalence.verdict is Verdict.NOT_CHECKED:
        return "not applicable"
    return "MISSED" if case.execution in BUGS else "passed"


def _is_well(case: CaseSummary) -> bool:
    if case.execution == INNOCENT:
        return case.equivalence.verdict is Verdict.EQUIVALENT
    return case.equivalence.verdict in (Verdict.DIFFERENT, Verdict.NOT_CHECKED)
