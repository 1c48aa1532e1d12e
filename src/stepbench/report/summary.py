"""What every report shows of a run, computed once from its raw measurements; its JSON is a public contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Mapping

import msgspec

from stepbench.judge.moderated import speedups
from stepbench.judge.published_peaks import Published, published_peaks
from stepbench.judge.statistics import Estimate
from stepbench.judge.training import Verdict
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import Case, Verification
from stepbench.records.machine import Environment
from stepbench.records.run import Attainable, Measurement
from stepbench.records.store import Run
from stepbench.report.case_summary import CaseSummary, Status, summarize_case
from stepbench.report.recommend import Recommendation, recommend

SCHEMA = 1


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run as reports show it: cases fastest first, failed ones last."""

    schema: int = SCHEMA
    run_id: str
    started: dt.datetime
    environment: Environment
    data: str
    remarks: tuple[str, ...] = ()
    """What there is to say of how the workloads were understood."""
    cases: tuple[CaseSummary, ...]
    attainable: tuple[Attainable, ...] = ()
    published: tuple[Published, ...] = ()
    """The makers' figures for those of these devices that are known."""
    recommendations: tuple[Recommendation, ...] = ()
    """One for each workload and device where there was a choice."""


def summarize(run: Run) -> Summary:
    """Derive all that reports show from the raw measurements of ``run``."""
    verdicts = judge_cases(run.measurements, run.plan.verification or Verification())
    sound = {found.case: found for found in run.measurements if not found.failure}
    faster = _speedups(sound)
    cases = [
        summarize_case(run, found, sound.get(found.case.reference), verdicts[found.case], faster.get(found.case))
        for found in run.measurements
    ]
    cases.sort(key=lambda case: (case.workload, case.device, -case.throughput.value if case.throughput else 1))
    # What converges differently is not the fastest of anything.
    cases.sort(key=lambda case: (case.status is Status.FAILED, case.equivalence.verdict is Verdict.DIFFERENT))
    return Summary(
        run_id=run.run_id,
        started=run.started,
        environment=run.environment,
        data=run.data,
        remarks=run.plan.remarks,
        cases=tuple(cases),
        attainable=run.attainable,
        published=tuple(filter(None, map(published_peaks, run.attainable))),
        recommendations=recommend(run, cases),
    )


def _speedups(sound: Mapping[Case, Measurement]) -> dict[Case, Estimate]:
    """Of every case that was timed beside its reference."""
    found: dict[Case, Estimate] = {}
    for reference in {case.reference for case in sound} & set(sound):
        found |= speedups([one for case, one in sound.items() if case.reference == reference], sound[reference])
    return found


def restricted(summary: Summary, ids: Container[str]) -> Summary:
    """The summary of certain cases alone; what to use is a question about all."""
    cases = tuple(case for case in summary.cases if case.id in ids)
    return msgspec.structs.replace(summary, cases=cases, recommendations=())
