"""The assessment of a run whose cases are timed already: fake workers, of which one finds its workload gone."""

from __future__ import annotations

from pathlib import Path

import faking
import msgspec
import pytest
from builders import ENVIRONMENT, make_case, make_events, make_failed, make_plan
from stored import Memo

from stepbench.commands import run as commands
from stepbench.commands.run import measure_run
from stepbench.engine.limits import assess
from stepbench.engine.pool import Pool
from stepbench.engine.rounds import remaining_teams
from stepbench.engine.worker import WorkerError
from stepbench.records.cases import Case, Device, Plan
from stepbench.records.progress import Progress
from stepbench.records.run import Attainable, Event, Failure, FailureKind, Measurement, Work, WorkFailed, assemble
from stepbench.records.store import JOURNAL_FILE, LOGS_FOLDER, Journal, Run, Store

pytestmark = pytest.mark.usefixtures("fake_workers")

BATCH = 16
CASES = tuple(
    make_case(execution, precision, workload="tiny", batch_size=size)
    for execution, precision, size in (
        ("graph", "float32", BATCH),
        ("xla", "float32", BATCH),
        ("graph", "float32", 2 * BATCH),
        ("graph", "mixed_bfloat16", BATCH),
    )
)
LOST = make_case(workload="lost")
PLAN = make_plan(
    [*CASES, LOST],
    workloads={"tiny": faking.WORKLOAD, "lost": "lost.py:workload"},
    replicates=1,
    rounds=1,
    input_pipeline=False,
    forks=True,
)


def all_blocks() -> list[Event]:
    """What the workers of the whole plan report."""
    teams = remaining_teams(PLAN, ())
    return [event for team in teams for case in team.cases for event in make_events(case, PLAN.rounds, team.replicate)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    """A run that was interrupted after its last block, and then continued."""
    begun = store.create(PLAN, ENVIRONMENT, command=("stepbench", "run"), data="synthetic")
    with Journal(store.folder(begun.run_id)) as journal:
        for event in all_blocks():
            journal.append(event)
    with pytest.MonkeyPatch.context() as patch:
        faking.start_fakes(patch)
        patch.setattr(commands, "_show", lambda *_: None)  # Drawing the page takes seconds.
        return measure_run(store.read(begun.run_id), store)


def found(run: Run, case: Case) -> Measurement:
    return next(measurement for measurement in run.measurements if measurement.case == case)


def test_cases_are_counted_and_the_device_measured_in_the_dtypes_of_the_plan(run: Run) -> None:
    for case in CASES:
        assert found(run, case).work == Work(1e6 * case.batch_size, 1e6, 320)
    (device,) = run.attainable
    assert device == Attainable(Device.CPU, {"float32": 1e11, "bfloat16": 1e11}, 1e10)


def test_a_workload_that_cannot_be_counted_costs_its_cases_their_count_and_no_more(run: Run) -> None:
    lost = found(run, LOST)
    assert lost.work is None
    assert lost.work_failure is not None
    assert "lost.py" in lost.work_failure.message
    assert (lost.failure, len(lost.replicates)) == (None, 1)
    assert run.finished is not None


def test_what_was_found_is_on_disk_also_of_an_unfinished_run(store: Store, run: Run) -> None:
    assert store.read(run.run_id) == run
    assert not (store.folder(run.run_id) / JOURNAL_FILE).exists()
    assert [path.name for path in (store.folder(run.run_id) / LOGS_FOLDER).iterdir()] == ["cpu.assess.log"]
    unfinished = msgspec.structs.replace(run, run_id="unfinished", finished=None)
    store.write(unfinished)
    assert store.read("unfinished").attainable == run.attainable


def refuse(*_: object) -> None:
    raise WorkerError(Failure(FailureKind.CRASH, "Planted."))


def test_nothing_is_assessed_twice(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "start", refuse)
    memo = Memo()
    assert assess(PLAN, run.measurements, run.attainable, memo, tmp_path) == run.attainable
    assert memo.events == []


def test_workers_that_fail_leave_the_fields_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "start", refuse)
    memo, progress = Memo(), list[Progress]()
    assert assess(PLAN, assemble(PLAN.cases, all_blocks()), (), memo, tmp_path, progress.append) == ()
    failure = Failure(FailureKind.CRASH, "Planted.")
    assert {(type(event), event.case) for event in memo.events} == {(WorkFailed, case.id) for case in PLAN.cases}
    assert all(isinstance(event, WorkFailed) and event.failure == failure for event in memo.events)
    assert [(state.done, state.total) for state in progress] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    "measured", [(make_failed(CASES[0]),), (Measurement(CASES[0]),)], ids=["failed", "never started"]
)
def test_a_case_without_times_is_not_assessed(
    measured: tuple[Measurement, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "start", refuse)
    memo = Memo()
    plan: Plan = PLAN.with_cases((CASES[0],))
    assert assess(plan, measured, (), memo, tmp_path) == ()
    assert memo.events == []
