"""Outside the workers: which case is traced when, and whether its trace is accepted."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stepbench.engine.pool import Pool
from stepbench.engine.rounds import MAX_TEAM, chunks, prepare
from stepbench.engine.worker import Surroundings, WorkerError
from stepbench.errors import StepbenchError
from stepbench.judge.proof import judge_start, judge_trace
from stepbench.records.cases import Case, Plan, Tracing
from stepbench.records.progress import Progress, Tell, untold
from stepbench.records.protocol import Capture
from stepbench.records.run import Failure, FailureKind, Measurement, TraceCaptured, TraceFailed
from stepbench.records.store import LOGS_FOLDER, Journal, session_of, slug
from stepbench.records.trace import Trace

STEP_TIMEOUT_S = 2.0
"""The longest that a step may take, traced, untraced and read back."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A case to be traced: of a run, or on one side of a gate."""

    case: Case
    plan: Plan
    name: str
    """What distinguishes it, for its log."""
    session: str
    """Where its trace goes, from the folder of the run or gate."""
    surroundings: Surroundings

    def __str__(self) -> str:
        return self.name


Take = Callable[[Subject, Trace | Failure], None]


def profile(
    plan: Plan,
    measured: Sequence[Measurement],
    journal: Journal,
    folder: Path,
    tell: Tell = untold,
) -> None:
    """Trace every case that has not failed and has no trace yet, each in a process that times nothing else.

    Args:
        plan: what was asked for; with its tracing settings.
        measured: what is known so far.
        journal: takes the events.
        folder: the run's folder, for logs and traces.
        tell: told how far it is.
    """
    assert plan.tracing, "asked only of plans that trace"
    todo = [found.case for found in measured if not (found.failure or found.trace or found.trace_failure)]

    def take(subject: Subject, found: Trace | Failure) -> None:
        case_id = subject.case.id
        journal.append(TraceFailed(case_id, found) if isinstance(found, Failure) else TraceCaptured(case_id, found))
        journal.sync()

    subjects = [_subject(plan, case) for case in todo]
    trace_each(subjects, plan.tracing, folder, take, tell)


def _subject(plan: Plan, case: Case) -> Subject:
    return Subject(case, plan, case.id, session_of(case.id), Surroundings(settings=case.settings))


def trace_each(subjects: Sequence[Subject], settings: Tracing, folder: Path, take: Take, tell: Tell = untold) -> None:
    """Trace each of them, and once more, in a fresh process, those whose trace was refused.

    Args:
        subjects: what to trace.
        settings: how.
        folder: the run's or the gate's, for logs and traces.
        take: told of each its trace, which lies in its place, or why there is none.
        tell: told how far it is.

    Raises:
        StepbenchError: when logs or traces cannot be written.
    """
    tracer = _Tracer(settings, folder, take, tell, len(subjects))
    for subject in tracer.trace_all(subjects, is_last=False):
        tracer.trace_all([subject], is_last=True)


class _Tracer:
    """Captures traces, and keeps those that are good."""

    def __init__(self, settings: Tracing, folder: Path, take: Take, tell: Tell, of_traces: int) -> None:
        self._settings = settings
        self._folder = folder
        self._take = take
        self._tell = tell
        self._traces = 0
        self._of_traces = of_traces

    def trace_all(self, subjects: Sequence[Subject], *, is_last: bool) -> list[Subject]:
        """Trace each; give those whose trace was refused, unless this was the last attempt."""
        refused: list[Subject] = []

        def fail(subject: Subject, failure: Failure) -> None:
            if failure.kind is FailureKind.NOT_PROVED and not is_last:
                refused.append(subject)
            else:
                self._done(subject, failure)

        for team in chunks(subjects, MAX_TEAM):
            self._say(f"starting {len(team)} workers to trace")
            with Pool[Subject](self._folder / LOGS_FOLDER, forks=all(one.plan.forks for one in team)) as pool:
                for subject in team:
                    pool.start(subject, "trace", subject.surroundings)
                for action in (pool.greet, functools.partial(self._trace, pool)):
                    pool.each([subject for subject in team if subject in pool], action, fail)
        return refused

    def _trace(self, pool: Pool[Subject], subject: Subject) -> None:
        self._say(f"tracing {subject}")
        case, plan = subject.case, subject.plan
        draft = self._folder / f".trace-{slug(subject.name)}"
        shutil.rmtree(draft, ignore_errors=True)  # Of a run that was killed.
        try:
            order = Capture(prepare(plan, case), self._settings, str(draft.absolute()))
            reply, _ = pool.ask(subject, order, plan.timeout_s + STEP_TIMEOUT_S * self._settings.steps)
            pool.end(subject)
            evidence, trace = reply.evidence, reply.trace
            failure = judge_start(case, evidence) or judge_trace(case, trace, self._settings, evidence.claims)
            if failure:
                raise WorkerError(failure)
            self._done(subject, self._keep(subject, trace))
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _keep(self, subject: Subject, trace: Trace) -> Trace:
        """Move an accepted trace to where TensorBoard finds it, as a session of its own."""
        session = self._folder / subject.session
        try:
            session.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(session, ignore_errors=True)
            Path(trace.path).rename(session)
        except OSError as error:
            raise StepbenchError(
                f"{session} cannot be written ({error.strerror}): let its folder be written."
            ) from error
        return msgspec.structs.replace(trace, path=subject.session)

    def _done(self, subject: Subject, found: Trace | Failure) -> None:
        self._traces += 1
        self._take(subject, found)

    def _say(self, doing: str) -> None:
        self._tell(Progress(self._traces, self._of_traces, doing))
