"""Two stored runs side by side, as people read it."""

from __future__ import annotations

from stepbench.judge.compare import Comparison, ComparisonVerdict
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table

HEADS = ("case", "verdict", "new / old")
_STYLES = {
    ComparisonVerdict.REGRESSION: "red",
    ComparisonVerdict.MISSING: "red",
    ComparisonVerdict.IMPROVED: "green",
}


def blocks(comparison: Comparison) -> list[Block]:
    """A headline, a row a case, and what may have shifted the times beside the code."""
    rows = [(case.id, case.verdict.replace("_", " "), formats.ratio(case.ratio)) for case in comparison.cases]
    styles = {number: _STYLES.get(case.verdict, "") for number, case in enumerate(comparison.cases)}
    return [
        Paragraph(headline(comparison), style=BOLD),
        text_table(HEADS, rows, HEADS[:2], styles=styles),
        Paragraph("", _notes(comparison)),
    ]


def headline(comparison: Comparison) -> str:
    """One sentence: the gravest verdict, and what was compared."""
    verdict = comparison.verdict.replace("_", " ").upper()
    return f"{verdict}: run {comparison.new} against run {comparison.old}, threshold {comparison.threshold:.1%}"


def _notes(comparison: Comparison) -> list[str]:
    notes = [f"{case.id}: {case.why}" for case in comparison.cases if case.why]
    notes += [f"not the same: {difference}" for difference in comparison.differences]
    stored = "runs of two moments differ by the moment too: 'stepbench gate' measures both revisions now"
    return [*notes, stored] if comparison.verdict is not ComparisonVerdict.PASS else notes
