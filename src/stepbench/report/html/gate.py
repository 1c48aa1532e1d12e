"""The page of a gate, with both sides."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from stepbench.judge.gate import (
    WINSORIZED,
    CaseJudgement,
    GateJudgement,
    GateVerdict,
    log_ratio,
    side_logs,
    side_step_time,
)
from stepbench.judge.statistics import winsorized_mean
from stepbench.records.gate import Gate, GateCase, Pair, SideName
from stepbench.report import formats
from stepbench.report.blocks import Cell, Head, Paragraph, Table
from stepbench.report.columns import value
from stepbench.report.explain import Explained
from stepbench.report.gate import busy, headline, unexplained
from stepbench.report.html.explain import explanation_blocks
from stepbench.report.html.facts import environment_facts, gate_reproduction, moment
from stepbench.report.html.figures import step_times
from stepbench.report.html.figures.canvas import BLUE, GREY
from stepbench.report.html.figures.plot import MOST_ROWS, Plot
from stepbench.report.html.figures.ratios import RatioRow, ratios
from stepbench.report.html.names import short_names
from stepbench.report.html.rendering import drawn, render
from stepbench.report.html.verdicts import TONES
from stepbench.report.html.view import (
    Conclusion,
    Page,
    Part,
    Section,
    section,
    without_empty_columns,
)

COLOURS = {SideName.BASE: GREY, SideName.HEAD: BLUE}
CAPTION = (
    "Farther left is faster. Each point is the mean of two blocks that were timed next to the other side's, each lane "
    "of points one fresh process with its mean as a tick; the band is the 95 % interval. Base is grey, head is blue; "
    "their processes ran in pairs, so the ratios above are known more precisely than these times."
)


def gate_page(
    gate: Gate, judgement: GateJudgement, notes: Sequence[str] = (), explanations: Mapping[str, Explained] | None = None
) -> str:
    """The page of a gate, finished or not, as HTML.

    Args:
        gate: what was measured.
        judgement: what it says.
        notes: what else a reader should know, such as how often gates are right here.
        explanations: why head takes longer, by the case's id, where both sides have traces.
    """
    names = short_names(found.case for found in gate.cases)
    case_ids = {found.case.id for found in gate.cases}
    said = [*unexplained(gate, case_ids), *filter(None, notes)]
    return render(
        Page(
            title=f"stepbench gate {gate.gate_id}",
            meta=[("gate", gate.gate_id), ("measured", moment(gate.started)), ("data", gate.data)],
            verdicts=[_verdict(gate, judgement, names)],
            alerts=[f"{note[0].upper()}{note[1:]}." for note in busy(gate)],
            sections=[
                *section("cases", "All cases", [Part("", [_table(gate, judgement, names)])]),
                *_measured(gate, judgement, names),
                *section("work", "Where the time goes", [_explanations(explanations or {})]),
                *section("commits", "Commits between", [_commits(gate)]),
                *section("environment", "Environment", [Part("", environment_facts(gate.environment))]),
                *section("notes", "What to know", [Part("", [Paragraph("", said)] if said else [])]),
                *section("reproduce", "How to reproduce", [Part("", gate_reproduction(gate))]),
            ],
        )
    )


def _verdict(gate: Gate, judgement: GateJudgement, names: Mapping[str, str]) -> Conclusion:
    _, _, sides = headline(gate, judgement).partition(": ")
    return Conclusion(
        scope=sides,
        headline=_headline(judgement, names),
        tone=TONES[judgement.verdict],
        badge=judgement.verdict,
        why=[f"{names[case.id]}: {why}" for case in judgement.cases for why in case.why],
    )


def _headline(judgement: GateJudgement, names: Mapping[str, str]) -> str:
    gravest = [case for case in judgement.cases if case.verdict is judgement.verdict]
    which = names[gravest[0].id] if len(gravest) == 1 else f"{len(gravest)} of {len(judgement.cases)} cases"
    ratio = f", head / base {formats.ratio(gravest[0].ratio)}" if len(gravest) == 1 and gravest[0].ratio else ""
    return {
        GateVerdict.REGRESSION: f"Head is worse in {which}{ratio}",
        GateVerdict.BROKEN: f"One side does not run in {which}",
        GateVerdict.IMPROVED: f"Head is faster in {which}{ratio}",
        GateVerdict.INCONCLUSIVE: f"The budget was too short to tell for {which}{ratio}",
        GateVerdict.PASS: f"No slowdown of {judgement.threshold:.1%} or more",
    }[judgement.verdict]


def _table(gate: Gate, judgement: GateJudgement, names: Mapping[str, str]) -> Table:
    heads = [Head("case", prose=True), Head("verdict", prose=True), Head("head / base"), Head("smallest detectable")]
    heads += [Head(f"{side}, ms a step") for side in SideName]
    heads += [Head(f"{what}, base → head") for what in ("first call", "peak memory")]
    heads += [Head("pairs"), Head("time"), Head("because", prose=True)]
    rows = [_row(names[both[1].id], *both) for both in zip(gate.cases, judgement.cases, strict=True)]
    shown = without_empty_columns(heads, rows)
    title = "Cases, base against head"
    return Table(title, *shown, name="cases-table", sortable=True, filterable=len(rows) > 1)


def _row(name: str, found: GateCase, judged: CaseJudgement) -> list[Cell]:
    detectable = judged.smallest_detectable
    times = [side_step_time(found, side) for side in SideName]
    return [
        Cell(name),
        Cell(judged.verdict, tone=TONES[judged.verdict]),
        Cell(formats.ratio(judged.ratio), value(judged.ratio)),
        Cell(formats.ABSENT if detectable is None else f"{detectable:.1%}", detectable),
        *(Cell(formats.estimate(time, scale=1e3), value(time)) for time in times),
        Cell(_both(found.pairs, "first_call_s", formats.seconds)),
        Cell(_both(found.pairs, "peak_memory_bytes", formats.size)),
        Cell(str(judged.pairs), judged.pairs),
        Cell(formats.seconds(judged.seconds), judged.seconds),
        Cell("; ".join(judged.why)),
    ]


def _both(pairs: Sequence[Pair], what: str, write: Callable[[float], str]) -> str:
    """The median over pairs of one fact of both sides."""
    if not pairs:
        return formats.ABSENT
    medians = (statistics.median(getattr(getattr(pair, side), what) for pair in pairs) for side in SideName)
    return " → ".join(map(write, medians))


def _measured(gate: Gate, judgement: GateJudgement, names: Mapping[str, str]) -> list[Section]:
    judged = [
        RatioRow(names[case.id], case.verdict, case.ratio, [math.exp(log_ratio(pair)) for pair in found.pairs])
        for found, case in zip(gate.cases, judgement.cases, strict=True)
        if case.ratio
    ]
    figure = ratios(judged, judgement.threshold, ("head", "base"))
    return [
        *section("ratios", "Ratios", [Part("", drawn(figure))]),
        *section("step-times", "Step times", [Part("", drawn(_step_times(gate, names)))]),
    ]


def _step_times(gate: Gate, names: Mapping[str, str]) -> list[Plot]:
    found = []
    for case in gate.cases:
        for side in SideName:
            time = side_step_time(case, side)
            if time:
                logs = [side_logs(pair, side) for pair in case.pairs]
                processes = [[1e3 * math.exp(log) for log in process] for process in logs]
                means = [1e3 * math.exp(winsorized_mean(process, WINSORIZED)) for process in logs]
                label = f"{names[case.case.id]}, {side}"
                found.append(step_times.TimesRow(label, COLOURS[side], time, processes, means))
    few = f" The first {MOST_ROWS} of {len(found)} rows are shown." if len(found) > MOST_ROWS else ""
    title = "Step times in every pair of processes"
    return [step_times.plot_of("step-times", title, found, found[:MOST_ROWS], few, CAPTION)] if found else []


def _explanations(explanations: Mapping[str, Explained]) -> Part:
    numbered = enumerate(explanations.values())
    return Part("", [block for number, what in numbered for block in explanation_blocks(f"explained-{number}", what)])


def _commits(gate: Gate) -> Part:
    return Part(
        "", [Paragraph("Head has these, and base has not, newest first:", gate.commits)] if gate.commits else []
    )
