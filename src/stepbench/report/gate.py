"""A gate's verdict as people and programs read it; its JSON is public."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgspec

from stepbench.judge.gate import (
    FINDINGS,
    CaseJudgement,
    GateJudgement,
    GateVerdict,
    log_ratio,
    side_step_time,
)
from stepbench.records.gate import Gate, GateCase, Revision, SideName
from stepbench.report import explain, formats
from stepbench.report.blocks import BOLD, Block, Chapters, Paragraph, text_table
from stepbench.report.explain import Explained, Traced, explained
from stepbench.report.text import as_text

BUSY_CORES = 0.15
"""What a machine does in passing is less."""
HEADS = ("case", "verdict", "head / base", "smallest detectable", "pairs", "time")
_STYLES = {GateVerdict.REGRESSION: "red", GateVerdict.BROKEN: "red", GateVerdict.IMPROVED: "green"}


class CaseReport(CaseJudgement, frozen=True, kw_only=True):
    """The verdict on one case, explained."""

    explanation: Explained | None
    """Of base against head, where the step takes longer."""


class GateReport(GateJudgement, frozen=True, kw_only=True):
    """The verdict of a gate, explained."""

    cases: tuple[CaseReport, ...]


def report(gate: Gate, judgement: GateJudgement) -> GateReport:
    """All that programs are told of a gate."""
    known = explanations(gate)
    cases = tuple(
        CaseReport(**_fields(judged), explanation=known.get(found.case.id))
        for found, judged in zip(gate.cases, judgement.cases, strict=True)
    )
    return GateReport(**{**_fields(judgement), "cases": cases})


def explanations(gate: Gate) -> dict[str, Explained]:
    """Why head takes longer, for the id of each case that was traced on both sides."""
    return {found.case.id: _explained(gate, found) for found in gate.cases if len(found.traces) == len(SideName)}


def verdict_blocks(gate: Gate, judgement: GateJudgement, notes: Sequence[str] = ()) -> list[Block]:
    """The verdict, a row a case, the reasons, the commits between, and what else is to be noted."""
    styles = {number: _STYLES.get(case.verdict, "") for number, case in enumerate(judgement.cases)}
    return [
        Paragraph(headline(gate, judgement), style=BOLD),
        text_table(HEADS, list(map(_cells, judgement.cases)), HEADS[:2], styles=styles),
        Paragraph("", (*_notes(gate, judgement), *notes)),
    ]


def chapters(gate: Gate, judgement: GateJudgement, notes: Sequence[str] = ()) -> Chapters:
    """The same, and why head takes longer, case by case."""
    return [verdict_blocks(gate, judgement, notes), *map(explain.blocks, explanations(gate).values())]


def case_text(gate: Gate, case_id: str, judgement: GateJudgement) -> str:
    """All that a gate says of one case, as plain text."""
    (judged,) = (case for case in judgement.cases if case.id == case_id)
    verdict = f"{judged.verdict}: head / base {formats.ratio(judged.ratio)}, threshold {judgement.threshold:.1%}"
    mine = msgspec.structs.replace(judgement, verdict=judged.verdict, cases=(judged,))
    what = explanations(gate).get(case_id)
    return as_text([[Paragraph(verdict, _notes(gate, mine)), *(explain.blocks(what) if what else [])]])


def headline(gate: Gate, judgement: GateJudgement) -> str:
    """One sentence: the verdict, and what was compared."""
    verdict = judgement.verdict.upper()
    return f"{verdict}: {_named(gate.head)} against {_named(gate.base)}, threshold {judgement.threshold:.1%}"


def _named(revision: Revision) -> str:
    commit = revision.commit[:12]
    if not revision.name:
        return f"the working tree ({commit}{', changed' if revision.dirty else ''})"
    return commit if revision.commit.startswith(revision.name) else f"{revision.name} ({commit})"


def _cells(case: CaseJudgement) -> tuple[str, ...]:
    detectable = formats.ABSENT if case.smallest_detectable is None else f"{case.smallest_detectable:.1%}"
    seconds = formats.seconds(case.seconds)
    return case.id, case.verdict.value, formats.ratio(case.ratio), detectable, str(case.pairs), seconds


def _notes(gate: Gate, judgement: GateJudgement) -> list[str]:
    notes = [f"{case.id}: {why}" for case in judgement.cases for why in case.why]
    shown = {case.id for case in judgement.cases}
    notes += unexplained(gate, shown)
    if judgement.verdict in FINDINGS:
        notes += [f"between them: {commit}" for commit in gate.commits]
    return [*notes, *busy(gate)]


def unexplained(gate: Gate, case_ids: Container[str]) -> list[str]:
    """Why those of the cases that are slower without an explanation lack it."""
    return [
        f"{found.case.id}: it is not explained, as {found.untraced}"
        for found in gate.cases
        if found.untraced and found.case.id in case_ids
    ]


def busy(gate: Gate) -> Iterator[str]:
    """Sentences on what else used the processors."""
    # Cases that were measured together share what is known of their pair.
    loads = [load for _, load in {(pair.number, pair.load) for case in gate.cases for pair in case.pairs if pair.load}]
    for name, what in (("others", "other processes used"), ("stolen", "the hypervisor took")):
        cores = [getattr(load, name) for load in loads if getattr(load, name) > BUSY_CORES]
        if cores:
            count = f"{len(cores)} of {len(loads)} pairs"
            yield f"the machine was busy: {what} {statistics.fmean(cores):.1f} cores while {count} were measured"


def _explained(gate: Gate, found: GateCase) -> Explained:
    base, head = (
        Traced(gate.gate_id, found.case, found.traces[side], side_step_time(found, side), gate.environment.cpu, side)
        for side in SideName
    )
    what = explained(base, head)
    if statistics.fmean(map(log_ratio, found.pairs)) >= math.log1p(gate.settings.threshold):
        return what
    doubt = "the usual step is not slower by the threshold: slow steps are rare, and these traces may hold none"
    return msgspec.structs.replace(what, doubts=(doubt, *what.doubts))


def _fields(judged: CaseJudgement | GateJudgement) -> dict[str, Any]:
    return {name: getattr(judged, name) for name in judged.__struct_fields__}
