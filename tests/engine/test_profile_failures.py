"""Tracing that goes wrong, by fake workers: what is tried again, what a failure costs, and what is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faking
import pytest
from builders import ENVIRONMENT, make_case, make_failed, make_plan, make_run, make_trace, make_traced
from invoking import Invoke

from stepbench.engine.profile import profile
from stepbench.errors import StepbenchError
from stepbench.records.cases import Case, Tracing
from stepbench.records.run import Failure, FailureKind, Measurement, TraceCaptured, TraceFailed
from stepbench.records.store import JOURNAL_FILE, LOGS_FOLDER, TENSORBOARD_FOLDER, Journal, Run, Store, session_of, slug

TRACING = Tracing(steps=5)
DONE, TRIED_BEFORE, LATER, NEVER, TOO_LONG, RAISING = (
    make_case(execution, workload="tiny", batch_size=32)
    for execution in ("graph", "xla", "marked-later", "never-marked", "too-long", "raising")
)
EARLIER = make_trace(DONE)
REFUSED = Failure(FailureKind.NOT_PROVED, "The trace: it marks no steps.")


@dataclass(frozen=True)
class Outcome:
    """What a resumed run left behind."""

    exit_code: int
    output: str
    errors: str
    folder: Path
    run: Run

    def __getitem__(self, case: Case) -> Measurement:
        return next(found for found in self.run.measurements if found.case == case)

    def logs(self, case: Case) -> list[str]:
        return [path.read_text() for path in (self.folder / LOGS_FOLDER).glob(f"{slug(case.id)}.*")]


def planned(results: Path, cases: Sequence[Case]) -> Run:
    """An unfinished run that only traces."""
    plan = make_plan(cases, workloads={"tiny": faking.WORKLOAD}, replicates=0, tracing=TRACING, forks=True)
    return Store(results).create(plan, ENVIRONMENT, command=("stepbench", "profile"), data="synthetic")


def drafts(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run in which one case was traced before it was resumed, and one had failed."""
    results = tmp_path_factory.mktemp("results")
    run = planned(results, (DONE, TRIED_BEFORE, LATER, NEVER, TOO_LONG, RAISING))
    folder = Store(results).folder(run.run_id)
    with Journal(folder) as journal:
        journal.append(TraceCaptured(DONE.id, EARLIER))
        journal.append(TraceFailed(TRIED_BEFORE.id, REFUSED))
    (folder / f".trace-{slug(LATER.id)}" / "plugins").mkdir(parents=True)  # As a run that was killed leaves it.
    done = faking.run("run", "--resume", run.run_id, "--results", str(results))
    return Outcome(done.returncode, done.stdout, done.stderr, folder, Store(results).read(run.run_id))


def test_cases_that_could_not_be_traced_are_a_finding_with_their_reasons_and_no_traceback(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.errors
    assert outcome.run.finished is not None
    text = " ".join(outcome.output.split())
    assert "it marks no steps" in text
    assert "RuntimeError: planted in the step" in text
    assert drafts(outcome.folder) == []
    assert [found.failure for found in outcome.run.measurements] == [None] * 6


def test_a_trace_that_is_refused_once_is_made_again_by_a_fresh_process(outcome: Outcome) -> None:
    found = outcome[LATER]
    assert found.trace_failure is None
    assert found.trace is not None
    assert found.trace.path == session_of(LATER.id)
    assert len(list((outcome.folder / found.trace.path).glob("*.xplane.pb"))) == 1


def test_a_trace_that_is_refused_twice_is_a_failure_with_its_reason(outcome: Outcome) -> None:
    found = outcome[NEVER]
    assert found.trace is None
    assert found.trace_failure is not None
    assert found.trace_failure.kind is FailureKind.NOT_PROVED
    assert "it marks no steps" in found.trace_failure.message
    assert not (outcome.folder / session_of(NEVER.id)).exists()


def test_a_trace_of_more_events_than_viewers_show_is_not_tried_again(outcome: Outcome) -> None:
    found = outcome[TOO_LONG]
    assert found.trace_failure is not None
    assert found.trace_failure.message == (
        "The trace: it holds 2000000 events, and viewers show at most 1000000: trace fewer --steps."
    )
    assert (outcome.folder / "tried-too-long").read_text() == "tried\n"


def test_a_step_that_raises_fails_alone(outcome: Outcome) -> None:
    found = outcome[RAISING]
    assert found.trace_failure == Failure(FailureKind.ERROR, "RuntimeError: planted in the step")
    assert len(outcome.logs(RAISING)) == 1


def test_a_resumed_run_traces_nothing_again_that_has_a_trace_or_has_failed(outcome: Outcome) -> None:
    assert outcome[DONE].trace == EARLIER
    assert outcome[TRIED_BEFORE].trace_failure == REFUSED
    assert outcome.logs(DONE) == outcome.logs(TRIED_BEFORE) == []


@pytest.mark.usefixtures("fake_workers")
def test_where_traces_cannot_be_kept_is_one_sentence(tmp_path: Path) -> None:
    run = planned(tmp_path, (DONE,))
    folder = Store(tmp_path).folder(run.run_id)
    (folder / TENSORBOARD_FOLDER).write_text("in the way")
    with Journal(folder) as journal, pytest.raises(StepbenchError, match="cannot be written") as refused:
        profile(run.plan, Store(tmp_path).read(run.run_id).measurements, journal, folder)
    assert session_of(DONE.id) in str(refused.value)
    assert drafts(folder) == []


def test_a_run_without_any_trace_is_useless(tmp_path: Path, in_process: Invoke) -> None:
    cases = (NEVER, RAISING)
    failed = (Measurement(case, trace_failure=REFUSED) for case in cases)
    run = make_run(*failed, plan=make_plan(cases, replicates=0, tracing=TRACING))
    Store(tmp_path).write(run)
    code, _, errors = in_process("run", "--resume", run.run_id, "--results", str(tmp_path))
    assert code == 2
    assert errors.splitlines() == ["stepbench: No case could be measured: the reasons are given with the table."]


def test_what_has_failed_or_has_a_trace_starts_no_worker(tmp_path: Path) -> None:
    known = (make_traced(DONE), make_failed(RAISING), Measurement(NEVER, trace_failure=REFUSED))
    with Journal(tmp_path) as journal:
        profile(make_plan([found.case for found in known], tracing=TRACING), known, journal, tmp_path)
    assert (tmp_path / JOURNAL_FILE).read_bytes() == b""
    assert not (tmp_path / LOGS_FOLDER).exists()
