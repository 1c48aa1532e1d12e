"""What ``verify --self-test`` prints: which planted bugs were caught, and how."""

from __future__ import annotations

from dataclasses import dataclass

from stepbench.judge.training import Verdict
from stepbench.records.cases import BUGS, GRAPH, INNOCENT, Precision
from stepbench.records.run import FailureKind
from stepbench.report.blocks import Table, text_table
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import Summary

HEADS = ("planted", "precision", "found", "because")


def self_test_table(summary: Summary) -> Table:
    """A row for each planted bug, and for the innocent variant."""
    found = [_found(case, summary) for case in _planted(summary)]
    rows = [
        (BUGS.get(case.execution, "nothing"), case.precision, one.word, one.because)
        for case, one in zip(_planted(summary), found, strict=True)
    ]
    styles = {number: "red" for number, one in enumerate(found) if not one.is_well}
    return text_table(HEADS, rows, HEADS, styles=styles)


def all_well(summary: Summary) -> bool:
    """Whether every applicable bug was caught and the innocent variant passed."""
    return all(_found(case, summary).is_well for case in _planted(summary))


@dataclass(frozen=True)
class _Found:
    """What became of something planted."""

    word: str
    because: str
    is_well: bool = True


def _planted(summary: Summary) -> list[CaseSummary]:
    order = (INNOCENT, *BUGS)
    cases = [case for case in summary.cases if case.execution in order]
    return sorted(cases, key=lambda case: (order.index(case.execution), case.precision))


def _found(case: CaseSummary, summary: Summary) -> _Found:
    verdict, because = case.equivalence.verdict, "".join(case.equivalence.why[:1])
    own = _own_fault(case, summary)
    if own is not None:
        return _Found("not applicable", because=f"the workload's own step is different in {case.precision}: {own}")
    if case.execution == INNOCENT:
        words = {Verdict.EQUIVALENT: "passed", Verdict.DIFFERENT: "FALSE ALARM", Verdict.NOT_CHECKED: "NOT JUDGED"}
        return _Found(words.get(verdict, "not told from a bug"), because, is_well=verdict is Verdict.EQUIVALENT)
    if verdict is Verdict.NOT_CHECKED:
        # A worker that crashed or ran out of time shows nothing.
        is_unsupported = because.startswith(f"{FailureKind.UNSUPPORTED}: ")
        return _Found("not applicable" if is_unsupported else "NOT JUDGED", because, is_well=is_unsupported)
    is_caught = verdict is Verdict.DIFFERENT
    return _Found("caught" if is_caught else "MISSED", because, is_well=is_caught)


def _own_fault(case: CaseSummary, summary: Summary) -> str | None:
    """What is wrong with the workload's own step in the precision of a case, so that nothing can be learnt there.

    A ``train_step`` that does not scale its loss under mixed_float16, say, whose gradients are divided all the same. In
    float32 it would be the judgement that is wrong.
    """
    if case.precision == Precision.FLOAT32:
        return None
    same = (case.workload, case.device, case.precision, case.batch_size, 1)
    for one in summary.cases:
        mine = (one.workload, one.device, one.precision, one.batch_size, one.steps_per_call)
        if one.execution == GRAPH and mine == same and one.equivalence.verdict is Verdict.DIFFERENT:
            return "".join(one.equivalence.why[:1])
    return None
