"""The page of two stored runs, with both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from stepbench.judge.compare import CaseComparison, Comparison, ComparisonVerdict
from stepbench.records.store import Run
from stepbench.report import case_tables, columns, formats
from stepbench.report.blocks import Cell, Head, Paragraph, Table
from stepbench.report.explain import explained, traced
from stepbench.report.html import cases as tables
from stepbench.report.html.explain import explanation_blocks
from stepbench.report.html.facts import environment_facts, moment, reproduction
from stepbench.report.html.figures.groups import groups
from stepbench.report.html.figures.losses import losses
from stepbench.report.html.figures.ratios import RatioRow, ratios
from stepbench.report.html.names import short_names
from stepbench.report.html.rendering import drawn, render
from stepbench.report.html.sides import RunSide, memory_plots, step_time_plots, work_plots
from stepbench.report.html.verdicts import TONES
from stepbench.report.html.view import (
    Conclusion,
    Page,
    PageBlock,
    Part,
    Section,
    section,
    without_empty_columns,
)

MOST_EXPLAINED = 3
CHANGED = (ComparisonVerdict.REGRESSION, ComparisonVerdict.IMPROVED)


def comparison_page(old_run: Run, new_run: Run, comparison: Comparison) -> str:
    """The page of a comparison, as HTML."""
    sides = (RunSide.old(old_run), RunSide.new(new_run))
    names = short_names(found.case for side in sides for found in side.run.measurements)
    return render(
        Page(
            title=f"stepbench compare {comparison.old} {comparison.new}",
            meta=[(side.name, f"run {side.run.run_id} of {moment(side.run.started)}") for side in sides],
            verdicts=[_verdict(comparison, names)],
            alerts=_alerts(comparison),
            sections=[
                *section("cases", "All cases", [Part("", [_table(comparison, sides, names)])]),
                *_measured(comparison, sides, names),
                *section("environment", "Environment", _environments(comparison, sides)),
                *section("warnings", "Warnings and failures", _notes(sides)),
                *section("reproduce", "How to reproduce", _each(sides, lambda side: reproduction(side.run))),
            ],
        )
    )


def _verdict(comparison: Comparison, names: Mapping[str, str]) -> Conclusion:
    found = comparison.verdict.replace("_", " ")
    changed = [case for case in comparison.cases if case.verdict in CHANGED]
    return Conclusion(
        scope=f"run {comparison.new} against run {comparison.old}, threshold {comparison.threshold:.1%}",
        headline=_headline(comparison, names),
        tone=TONES.get(comparison.verdict, "quiet"),
        badge=found,
        why=[f"{names[case.id]}: {case.verdict}, new / old {formats.ratio(case.ratio)}" for case in changed[:5]],
    )


def _headline(comparison: Comparison, names: Mapping[str, str]) -> str:
    gravest = [case for case in comparison.cases if case.verdict is comparison.verdict]
    one = len(gravest) == 1
    which = f"{names[gravest[0].id]} is" if one else f"{len(gravest)} of {len(comparison.cases)} cases are"
    return {
        ComparisonVerdict.REGRESSION: f"{which} slower",
        ComparisonVerdict.IMPROVED: f"{which} faster, and none is slower",
        ComparisonVerdict.MISSING: f"{which} missing on one side",
        ComparisonVerdict.INCONCLUSIVE: f"{which} undecided, and none is slower",
        ComparisonVerdict.NOT_JUDGED: "Different machines: ratios are shown, and nothing is judged",
        ComparisonVerdict.PASS: "No case is slower by the threshold",
    }[comparison.verdict]


def _alerts(comparison: Comparison) -> list[str]:
    if comparison.verdict is ComparisonVerdict.PASS:
        return []
    return ["Runs of two moments differ by the moment too: 'stepbench gate' measures both revisions now."]


def _table(comparison: Comparison, sides: Sequence[RunSide], names: Mapping[str, str]) -> Table:
    heads = [Head("case", prose=True), Head("verdict", prose=True), Head("new / old")]
    heads += [Head(f"{side.name}, ms a step") for side in sides]
    heads += [*(Head(f"{side.name} converges", prose=True) for side in sides), Head("because", prose=True)]
    rows = [_row(found, sides, names) for found in comparison.cases]
    shown = without_empty_columns(heads, rows)
    return Table("Cases of either run", *shown, name="cases-table", sortable=True, filterable=len(rows) > 1)


def _row(found: CaseComparison, sides: Sequence[RunSide], names: Mapping[str, str]) -> list[Cell]:
    cases = [side.case(found.id) for side in sides]
    absent = Cell(formats.ABSENT)
    return [
        Cell(names[found.id]),
        Cell(found.verdict.replace("_", " "), tone=TONES.get(found.verdict, "quiet")),
        Cell(formats.ratio(found.ratio), columns.value(found.ratio)),
        *(columns.STEP_TIME.cell(case) if case else absent for case in cases),
        *(columns.CONVERGENCE.cell(case) if case else absent for case in cases),
        Cell(found.why),
    ]


def _measured(comparison: Comparison, sides: Sequence[RunSide], names: Mapping[str, str]) -> list[Section]:
    """What was measured on both sides."""
    judged = [RatioRow(names[case.id], case.verdict, case.ratio) for case in comparison.cases if case.ratio]
    figure = ratios(judged, comparison.threshold, ("new", "old"))
    times, work, memory = (make(sides, names) for make in (step_time_plots, work_plots, memory_plots))
    explanations = _explanations(comparison, sides)
    return [
        *section("ratios", "Ratios", [Part("", drawn(figure))]),
        *section("step-times", "Step times", [Part("", drawn(times))]),
        *section("convergence", "Convergence", _each(sides, _convergence)),
        *section("work", "Where the time goes", [Part("", [*drawn(work), *explanations])]),
        *section("memory", "Memory", [Part("", drawn(memory))]),
    ]


def _explanations(comparison: Comparison, sides: Sequence[RunSide]) -> list[PageBlock]:
    """Why the cases that changed most are faster or slower now, where both sides have traces."""
    old, new = sides
    changed = [case for case in comparison.cases if case.verdict in CHANGED and case.ratio]
    changed.sort(key=lambda case: -case.ratio.value if case.ratio else 0.0)
    blocks: list[PageBlock] = []
    for number, case in enumerate(changed[:MOST_EXPLAINED]):
        a, b = old.measurement(case.id), new.measurement(case.id)
        if a and b and a.trace and b.trace:
            blocks += explanation_blocks(f"explained-{number}", explained(traced(old.run, a), traced(new.run, b)))
    return blocks


def _each(sides: Sequence[RunSide], make: Callable[[RunSide], Sequence[PageBlock]]) -> list[Part]:
    """A part for either side."""
    return [Part(f"{side.name.capitalize()}: run {side.run.run_id}", make(side)) for side in sides]


def _convergence(side: RunSide) -> list[PageBlock]:
    blocks: list[PageBlock] = []
    for group in groups(side.run, side.summary):
        table = tables.convergence_table(f"verdicts-{side.name}-{group.name}", group.title, group.cases)
        figure = losses(dataclasses.replace(group, name=f"{side.name}-{group.name}"))
        blocks += [*([table] if table else []), *drawn(figure)]
    return blocks


def _environments(comparison: Comparison, sides: Sequence[RunSide]) -> list[Part]:
    differing = "What else than the code is not the same:"
    same = "Nothing else than the code that is known to decide speed differs."
    text = Paragraph(differing if comparison.differences else same, comparison.differences)
    return [Part("", [text]), *_each(sides, lambda side: environment_facts(side.run.environment))]


def _notes(sides: Sequence[RunSide]) -> list[Part]:
    return _each(
        sides,
        lambda side: [note for _, cases in case_tables.groups(side.summary.cases) for note in tables.notes(cases)],
    )
