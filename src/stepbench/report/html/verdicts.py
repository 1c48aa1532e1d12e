"""The verdict on a run, one for each workload and device: what to use, and by how much it is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepbench.judge.training import Verdict
from stepbench.report import case_tables, columns, formats
from stepbench.report.case_summary import CaseSummary, Status
from stepbench.report.columns import Column, label
from stepbench.report.html.rendering import split_interval
from stepbench.report.html.view import Conclusion
from stepbench.report.recommend import Recommendation
from stepbench.report.summary import Summary

SHOWN: tuple[tuple[str, Column], ...] = (
    ("speed-up", columns.SPEEDUP),
    ("milliseconds a step", columns.STEP_TIME),
    ("examples a second", columns.THROUGHPUT),
    ("converges", columns.CONVERGENCE),
    ("first call pays back after", columns.BREAK_EVEN),
    ("peak memory", columns.PEAK_MEMORY),
)
"""Figures of the best case."""
TONES: Mapping[str, str] = {
    **dict.fromkeys(("regression", "broken", "missing"), "bad"),
    **dict.fromkeys(("pass", "improved"), "good"),
    "inconclusive": "doubtful",
}
"""Of what comparisons and gates say; else it is quiet."""


def verdicts(summary: Summary) -> list[Conclusion]:
    """One for each workload and device, in the order of the tables."""
    return [_verdict(summary, title, cases) for title, cases in case_tables.groups(summary.cases)]


def _verdict(summary: Summary, title: str, cases: Sequence[CaseSummary]) -> Conclusion:
    recommended, best = _recommended(summary, cases), best_of(summary, cases)
    headline, why = (recommended.headline, recommended.why) if recommended else (_no_recommendation(cases), ())
    return Conclusion(title, headline, "good" if best else "quiet", "", _figures(best), why)


def _recommended(summary: Summary, cases: Sequence[CaseSummary]) -> Recommendation | None:
    place = cases[0].workload, cases[0].device
    return next((found for found in summary.recommendations if (found.workload, found.device) == place), None)


def best_of(summary: Summary, cases: Sequence[CaseSummary]) -> CaseSummary | None:
    """What is recommended of the cases of one workload on one device, if anything is."""
    recommended = _recommended(summary, cases)
    return next((case for case in cases if recommended and case.id in recommended.best), None)


def _no_recommendation(cases: Sequence[CaseSummary]) -> str:
    """Why there is none."""
    timed = [case for case in cases if case.step_time_s]
    if all(case.failure for case in cases):
        return "No recommendation: every case failed"
    if len(timed) == 1:
        only = timed[0]
        time = formats.estimate(only.step_time_s, scale=1e3)
        return f"No recommendation: {label(only, cases)} alone was timed, {time} ms a step"
    if len({case.batch_size for case in timed}) == len(timed) > 1:
        return "No recommendation: one case of each batch size was timed, which leaves no choice"
    if timed:
        return "Some cases of the run: its whole report says what to use"
    judged = [case for case in cases if case.equivalence.verdict is not Verdict.NOT_CHECKED]
    if not judged:
        return "No recommendation: nothing was timed"
    alike = sum(case.equivalence.verdict is Verdict.EQUIVALENT for case in judged)
    return f"Nothing was timed: {alike} of {len(cases)} cases are shown to converge alike"


def _figures(best: CaseSummary | None) -> list[tuple[str, str, str]]:
    if best is None:
        return []
    return [(name, *split_interval(column.write(best))) for name, column in SHOWN if column.is_filled(best)]


def findings(cases: Sequence[CaseSummary]) -> str:
    """What a reader must not overlook, in a sentence; nothing if there is nothing."""
    failed = sum(case.status is Status.FAILED for case in cases)
    different = sum(case.equivalence.verdict is Verdict.DIFFERENT for case in cases)
    parts = [
        f"{count} of {len(cases)} cases {words}"
        for count, words in ((failed, "failed or were not measured"), (different, "converge differently"))
        if count
    ]
    return ", ".join(parts)
