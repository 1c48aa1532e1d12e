"""A gate's verdict as people and programs read it; its JSON is public."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepbench.judge.gate import (
    CaseJudgement,
    GateJudgement,
    GateVerdict,
    log_ratio,
    side_step_time,
)
from stepbench.records.gate import Gate, GateCase, Revision, SideName
from stepbench.report import explanation, formats
from stepbench.report.explanation import Explained, Traced, explained, print_explanation
from stepbench.report.markdown import escape, table_lines
from stepbench.report.terminal import FILE_WIDTH, make_console

BUSY_CORES = 0.15
"""What a machine does in passing is less."""
HEADS = ("case", "verdict", "head / base", "smallest detectable", "pairs", "time")
FINDINGS = (GateVerdict.REGRESSION, GateVerdict.BROKEN)
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


def print_gate(
    gate: Gate, judgement: GateJudgement, console: Console | None = None, *, notes: Sequence[str] = ()
) -> None:
    """Print the verdict, a row a case, the reasons, the commits between, and what else is to be noted."""
    console = console or make_console()
    console.print(Text(formats.plain(headline(gate, judgement)), style="bold", overflow="fold"))
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head in HEADS[:2] else "right", overflow="fold")
    for case in judgement.cases:
        table.add_row(*map(Text, _cells(case)), style=_STYLES.get(case.verdict, ""))
    console.print(table)
    for note in (*_notes(gate, judgement), *notes):
        console.print(Text(f"- {formats.plain(note)}", overflow="fold"))


def print_explanations(gate: Gate, console: Console | None = None) -> None:
    """Print why head takes longer, case by case."""
    console = console or make_console()
    for what in explanations(gate).values():
        console.print()
        print_explanation(what, console)


def markdown(gate: Gate, judgement: GateJudgement, *, notes: Sequence[str] = ()) -> str:
    """Both in GitHub's markdown."""
    table = table_lines(HEADS, "llrrrr", map(_cells, judgement.cases))
    lines = [f"**{escape(headline(gate, judgement))}**", "", *table, ""]
    listed = "\n".join([*lines, *(f"- {escape(note)}" for note in (*_notes(gate, judgement), *notes))]) + "\n"
    return "\n".join([listed, *map(explanation.markdown, explanations(gate).values())])


def case_text(gate: Gate, case_id: str, judgement: GateJudgement) -> str:
    """All that a gate says of one case, as plain text."""
    (judged,) = (case for case in judgement.cases if case.id == case_id)
    lines = [f"{judged.verdict}: head / base {formats.ratio(judged.ratio)}, threshold {judgement.threshold:.1%}"]
    mine = msgspec.structs.replace(judgement, verdict=judged.verdict, cases=(judged,))
    lines += [f"- {formats.plain(note)}" for note in _notes(gate, mine)]
    text = io.StringIO()
    if what := explanations(gate).get(case_id):
        print_explanation(what, Console(file=text, width=FILE_WIDTH, color_system=None, highlight=False))
    return "\n".join([*lines, *(line.rstrip() for line in text.getvalue().splitlines())])


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
    ratio = formats.ratio(case.ratio)
    return formats.plain(case.id), case.verdict.value, ratio, detectable, str(case.pairs), formats.seconds(case.seconds)


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
