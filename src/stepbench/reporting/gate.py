"""A gate's verdict as people read it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepbench.analysis.regression import CaseJudgement, GateJudgement, GateVerdict
from stepbench.pairs import Gate, Revision
from stepbench.reporting import formats
from stepbench.reporting.markdown import escape
from stepbench.reporting.terminal import make_console

BUSY_CORES = 0.15
"""What a machine does in passing is less."""
HEADS = ("case", "verdict", "head / base", "smallest detectable", "pairs", "time")
_STYLES = {GateVerdict.REGRESSION: "red", GateVerdict.BROKEN: "red", GateVerdict.IMPROVED: "green"}


def print_gate(gate: Gate, judgement: GateJudgement, console: Console | None = None, *, reliability: str = "") -> None:
    """Print the verdict, a row a case, the reasons, the commits between, and how often gates are right here."""
    console = console or make_console()
    console.print(Text(formats.plain(headline(gate, judgement)), style="bold", overflow="fold"))
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head in HEADS[:2] else "right", overflow="fold")
    for case in judgement.cases:
        table.add_row(*map(Text, _cells(case)), style=_STYLES.get(case.verdict, ""))
    console.print(table)
    for note in (*_notes(gate, judgement), *filter(None, [reliability])):
        console.print(Text(f"- {formats.plain(note)}", overflow="fold"))


def markdown(gate: Gate, judgement: GateJudgement, *, reliability: str = "") -> str:
    """The same in GitHub's markdown."""
    rows = [list(HEADS), [":--", ":--", "--:", "--:", "--:", "--:"]]
    rows += [[escape(cell) for cell in _cells(case)] for case in judgement.cases]
    lines = [f"**{escape(headline(gate, judgement))}**", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    notes = (*_notes(gate, judgement), *filter(None, [reliability]))
    return "\n".join([*lines, *(f"- {escape(note)}" for note in notes)]) + "\n"


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
    if judgement.verdict in (GateVerdict.REGRESSION, GateVerdict.BROKEN):
        notes += [f"between them: {commit}" for commit in gate.commits]
    return [*notes, *_busy(gate)]


def _busy(gate: Gate) -> Iterator[str]:
    """Sentences on what else used the processors."""
    loads = {pair.number: pair.load for case in gate.cases for pair in case.pairs if pair.load}
    for name, what in (("others", "other processes used"), ("stolen", "the hypervisor took")):
        cores = [getattr(load, name) for load in loads.values() if getattr(load, name) > BUSY_CORES]
        if cores:
            count = f"{len(cores)} of {len(loads)} pairs"
            yield f"the machine was busy: {what} {statistics.fmean(cores):.1f} cores while {count} were measured"
