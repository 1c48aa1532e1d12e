"""What ``verify --self-test`` prints: which planted bugs were caught, and how."""

from __future__ import annotations

from dataclasses import dataclass

from stepbench.judge.training import Verdict
from stepbench.records.cases import BUGS, GRAPH, INNOCENT
from stepbench.records.run import FailureKind
from stepbench.report.blocks import Table, text_table
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import Summary

HEADS = ("planted", "precision", "found", "because")


def self_test_table(summary: Summary) -> Table:
    """A row for each planted bug, and for the innocent variant."""
    found = _findings(summary)
    rows = [(BUGS.get(case.execution, "nothing"), case.precision, one.word, one.because) for case, one in found]
    styles = {number: "red" for number, (_, one) in enumerate(found) if not one.is_well}
    return text_table(HEADS, rows, HEADS, styles=styles)


def all_well(summary: Summary) -> bool:
    """Whether every applicable bug was caught and the innocent variant passed."""
    return all(one.is_well for _, one in _findings(summary))


@dataclass(frozen=True)
class _Finding:
    """What became of something planted."""

    word: str
    because: str
    is_well: bool = False


def _findings(summary: Summary) -> list[tuple[CaseSummary, _Finding]]:
    order = (INNOCENT, *BUGS)
    cases = sorted(
        (case for case in summary.cases if case.execution in order),
        key=lambda case: (order.index(case.execution), case.precision),
    )
    own = {_step(case): case for case in summary.cases if case.execution == GRAPH}
    return [(case, _finding(case, own.get(_step(case)))) for case in cases]


def _step(case: CaseSummary) -> tuple[str, str, str, int, str]:
    """What is planted in: equal for cases that differ in their execution alone."""
    return case.workload, case.device, case.precision, case.batch_size, case.suffix


def _finding(case: CaseSummary, own: CaseSummary | None) -> _Finding:
    verdict, because = case.equivalence.verdict, "".join(case.equivalence.why[:1])
    if own is not None and own.equivalence.verdict is Verdict.DIFFERENT:
        # A train_step that does not scale its loss under mixed_float16, say, from which nothing can be learnt.
        why = "".join(own.equivalence.why[:1])
        return _Finding("NOT TOLD", f"the workload's own step is different in {case.precision}: {why}")
    if case.execution == INNOCENT:
        words = {Verdict.EQUIVALENT: "passed", Verdict.DIFFERENT: "FALSE ALARM", Verdict.NOT_CHECKED: "NOT JUDGED"}
        return _Finding(words.get(verdict, "NOT TOLD"), because, is_well=verdict is Verdict.EQUIVALENT)
    if verdict is Verdict.NOT_CHECKED:
        # A worker that crashed or ran out of time shows nothing.
        is_unsupported = because.startswith(f"{FailureKind.UNSUPPORTED}: ")
        return _Finding("not applicable" if is_unsupported else "NOT JUDGED", because, is_well=is_unsupported)
    is_caught = verdict is Verdict.DIFFERENT
    return _Finding("caught" if is_caught else "MISSED", because, is_well=is_caught)
