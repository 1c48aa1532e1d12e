"""Two stored runs side by side, as people and programs read it; its JSON is public."""

from __future__ import annotations

import msgspec

from stepbench.errors import StepbenchError
from stepbench.judge.compare import CaseComparison, ComparisonVerdict, compare_cases
from stepbench.records.machine import differences
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table

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
