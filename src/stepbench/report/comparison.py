"""Two stored runs side by side, as people and programs read it; its JSON is public."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepbench.errors import StepbenchError
from stepbench.judge.compare import CaseComparison, ComparisonVerdict, compare_cases
from stepbench.records.machine import differences
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.markdown import escape, table_lines
from stepbench.report.terminal import make_console

SCHEMA = 1
HEADS = ("case", "verdict", "new / old")
_GRAVEST = (
    ComparisonVerdict.REGRESSION,
    ComparisonVerdict.MISSING,
    ComparisonVerdict.INCONCLUSIVE,
    ComparisonVerdict.NOT_JUDGED,
    ComparisonVerdict.IMPROVED,
    ComparisonVerdict.PASS,
)
_STYLES = {
    ComparisonVerdict.REGRESSION: "red",
    ComparisonVerdict.MISSING: "red",
    ComparisonVerdict.IMPROVED: "green",
}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs compared."""

    schema: int = SCHEMA
    old: str
    new: str
    verdict: ComparisonVerdict
    threshold: float
    differences: tuple[str, ...]
    """What else than the code is not the same, as far as it decides or shifts speed."""
    cases: tuple[CaseComparison, ...]


def compare_runs(old: Run, new: Run, threshold: float, *, allow_different_machines: bool) -> Comparison:
    """Compare two runs case by case.

    Raises:
        StepbenchError: when they are of different machines, unless that is allowed; then nothing is judged.
    """
    same = old.environment.fingerprint == new.environment.fingerprint
    differing = differences(old.environment, new.environment)
    if not same and not allow_different_machines:
        raise StepbenchError(
            f"The runs are of different machines ({'; '.join(differing[:3])}), so their times cannot be compared: "
            "measure both on one, use 'stepbench gate', or look without a verdict with --allow-different-machines."
        )
    cases = compare_cases(old.measurements, new.measurements, threshold, judged=same)
    verdict = min((case.verdict for case in cases), key=_GRAVEST.index)
    return Comparison(
        old=old.run_id, new=new.run_id, verdict=verdict, threshold=threshold, differences=differing, cases=cases
    )


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print a headline, a row a case, and what may have shifted the times beside the code."""
    console = console or make_console()
    console.print(Text(formats.plain(headline(comparison)), style="bold", overflow="fold"))
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right" if head == HEADS[-1] else "left", overflow="fold")
    for case in comparison.cases:
        table.add_row(*map(Text, _cells(case)), style=_STYLES.get(case.verdict, ""))
    console.print(table)
    for note in _notes(comparison):
        console.print(Text(f"- {formats.plain(note)}", overflow="fold"))


def markdown(comparison: Comparison) -> str:
    """The same in GitHub's markdown."""
    table = table_lines(HEADS, "llr", map(_cells, comparison.cases))
    lines = [f"**{escape(headline(comparison))}**", "", *table, ""]
    return "\n".join([*lines, *(f"- {escape(note)}" for note in _notes(comparison))]) + "\n"


def headline(comparison: Comparison) -> str:
    """One sentence: the gravest verdict, and what was compared."""
    verdict = comparison.verdict.replace("_", " ").upper()
    return f"{verdict}: run {comparison.new} against run {comparison.old}, threshold {comparison.threshold:.1%}"


def _cells(case: CaseComparison) -> tuple[str, str, str]:
    ratio = formats.ratio(case.ratio)
    return formats.plain(case.id), case.verdict.replace("_", " "), ratio


def _notes(comparison: Comparison) -> list[str]:
    notes = [f"{case.id}: {case.why}" for case in comparison.cases if case.why]
    notes += [f"not the same: {difference}" for difference in comparison.differences]
    stored = "runs of two moments differ by the moment too: 'stepbench gate' measures both revisions now"
    return [*notes, stored] if comparison.verdict is not ComparisonVerdict.PASS else notes
