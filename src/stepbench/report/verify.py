"""What ``verify --self-test`` prints: which planted bugs were caught, and how."""

from __future__ import annotations

from stepbench.judge.training import Verdict
from stepbench.records.cases import BUGS, INNOCENT
from stepbench.records.run import FailureKind
from stepbench.report.blocks import Table, text_table
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import Summary

HEADS = ("planted", "precision", "found", "because")


def self_test_table(summary: Summary) -> Table:
    """A row for each planted bug, and for the innocent variant."""
    cases = _planted(summary)
    rows = [
        (BUGS.get(case.execution, "nothing"), case.precision, _found(case), "".join(case.equivalence.why[:1]))
        for case in cases
    ]
    styles = {number: "red" for number, case in enumerate(cases) if not _is_well(case)}
    return text_table(HEADS, rows, HEADS, styles=styles)


def all_well(summary: Summary) -> bool:
    """Whether every applicable bug was caught and the innocent variant passed."""
    return all(map(_is_well, _planted(summary)))


def _planted(summary: Summary) -> list[CaseSummary]:
    order = (INNOCENT, *BUGS)
    cases = [case for case in summary.cases if case.execution in order]
    return sorted(cases, key=lambda case: (order.index(case.execution), case.precision))


def _found(case: CaseSummary) -> str:
    verdict = case.equivalence.verdict
    if verdict is Verdict.DIFFERENT:
        return "caught" if case.execution in BUGS else "FALSE ALARM"
    if _is_inapplicable(case):
        return "not applicable"
    if verdict is Verdict.NOT_CHECKED:
        return "NOT JUDGED"
    return "MISSED" if case.execution in BUGS else "passed"


def _is_well(case: CaseSummary) -> bool:
    if case.execution == INNOCENT:
        return case.equivalence.verdict is Verdict.EQUIVALENT
    return case.equivalence.verdict is Verdict.DIFFERENT or _is_inapplicable(case)


def _is_inapplicable(case: CaseSummary) -> bool:
    """Whether the bug has no place in this workload; a worker that crashed or ran out of time shows nothing."""
    verdict, why = case.equivalence.verdict, "".join(case.equivalence.why[:1])
    is_unsupported = verdict is Verdict.NOT_CHECKED and why.startswith(f"{FailureKind.UNSUPPORTED}: ")
    return case.execution in BUGS and is_unsupported
