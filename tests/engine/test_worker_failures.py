"""One run of users' variants, most of them faulty, through the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import places
import psutil
import pytest

from stepbench.records.run import FailureKind, Measurement
from stepbench.records.store import RUN_FILE, Run, Store

pytestmark = [pytest.mark.tensorflow, pytest.mark.alone]  # One case takes all memory.

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
MARK = "STEPBENCH_TEST_RUN"
ROUNDS = 2

INNOCENT = ("graph", "chatty", "untidy")
FAULTY = {
    "raising": (FailureKind.ERROR, "RuntimeError: planted in the step"),
    "unbuildable": (FailureKind.ERROR, "ValueError: planted in the factory"),
    "sleeping": (FailureKind.TIMEOUT, "15 s"),
    "aborting": (FailureKind.CRASH, "SIGABRT"),
    "quitting": (FailureKind.CRASH, "exited with code 7"),
    "hanging-up": (FailureKind.CRASH, "closed its pipe"),
    "hoarding": (FailureKind.OUT_OF_MEMORY, "out of memory"),
    "exhausting": (FailureKind.OUT_OF_MEMORY, "planted in the step"),
    "nan": (FailureKind.NON_FINITE, "after the first step"),
    "nan-later": (FailureKind.NON_FINITE, "steps"),
    "retracing": (FailureKind.NOT_PROVED, "traced again while it was timed"),
    "pretending": (FailureKind.NOT_PROVED, "XLA compiled nothing"),
}


@dataclass(frozen=True)
class Outcome:
    """What the command left behind."""

    exit_code: int
    errors: str
    survivors: list[str]
    folder: Path
    run: Run

    def __getitem__(self, execution: str) -> Measurement:
        """What was measured of one execution."""
        return next(found for found in self.run.measurements if found.case.variant.execution == execution)


SEEN_WITHIN_S = 10


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    results = tmp_path_factory.mktemp("results")
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [
            *(STEPBENCH, "run", "--workload", f"{places.TINY}:workload", "--plugin", str(places.FAULTY)),
            *("--execution", ",".join((*INNOCENT, *FAULTY)), "--precision", "float32", "--device", "cpu"),
            *("--batch-size", "16", "--data", "synthetic", "--replicates", "1", "--rounds", str(ROUNDS)),
            *("--timeout", "15s", "--no-input-pipeline", "--no-verify", "--no-trace", "--results", str(results)),
        ],
        env={**os.environ, MARK: mark},
        capture_output=True,
        text=True,
        check=False,
    )
    survivors = survivors_after_2_s(mark)
    run = Store(results).read()
    return Outcome(done.returncode, done.stderr, survivors, results / run.run_id, run)


def survivors_after_2_s(mark: str) -> list[str]:
    deadline = time.monotonic() + 2
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def marked(mark: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # Other users' processes, and those that have just ended.
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
    return found


def test_failed_cases_are_a_finding_and_no_traceback(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.errors


@pytest.mark.parametrize("execution", FAULTY)
def test_a_faulty_variant_has_its_typed_failure(outcome: Outcome, execution: str) -> None:
    kind, said = FAULTY[execution]
    failure = outcome[execution].failure
    assert failure is not None
    assert failure.kind is kind
    assert said in failure.message


@pytest.mark.parametrize("execution", INNOCENT)
def test_the_others_are_measured_as_if_alone(outcome: Outcome, execution: str) -> None:
    measurement = outcome[execution]
    assert measurement.failure is None
    assert [len(replicate.blocks) for replicate in measurement.replicates] == [ROUNDS]
    assert all(block.loss is not None for block in measurement.replicates[0].blocks)
    assert measurement.replicates[0].closing is not None


def test_a_thread_that_never_rests_disturbs_no_other_case(outcome: Outcome) -> None:
    # The kernel counts in hundredths of a second.
    blocks = [block for name in ("graph", "chatty") for block in outcome[name].replicates[0].blocks]
    assert all(abs(block.leaked_cpu_s) <= 0.02 for block in blocks)


def test_no_process_outlives_the_command(outcome: Outcome) -> None:
    assert outcome.survivors == []


def test_the_search_for_survivors_would_find_one() -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark}) as process:
        try:
            deadline = time.monotonic() + SEEN_WITHIN_S  # The kernel may not show its environment at once.
            while not (found := marked(mark)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found == ["sleep 60"]
        finally:
            process.kill()


def test_a_loss_that_turns_nan_is_kept_as_the_block_it_was_seen_in(outcome: Outcome) -> None:
    (replicate,) = outcome["nan-later"].replicates
    assert replicate.evidence.loss is not None
    assert replicate.blocks[-1].loss is None


def test_what_never_became_ready_has_no_numbers(outcome: Outcome) -> None:
    assert all(not outcome[execution].replicates for execution in FAULTY if execution not in ("nan-later", "retracing"))


def test_traces_during_timing_are_counted(outcome: Outcome) -> None:
    (replicate,) = outcome["retracing"].replicates
    assert replicate.evidence.traces == 1
    assert replicate.closing is not None
    # At least one call a block.
    assert replicate.closing.traces >= ROUNDS


def test_nothing_is_traced_on_request(outcome: Outcome) -> None:
    assert outcome.run.plan.tracing is None
    assert all(not found.trace and not found.trace_failure for found in outcome.run.measurements)
    assert list((outcome.folder / "logs").glob("*.trace.log")) == []


def test_what_users_print_is_in_the_log_and_not_taken_for_a_reply(outcome: Outcome) -> None:
    (log,) = (outcome.folder / "logs").glob("*chatty*")
    assert log.read_text().count("printed, not sent") > 10_000


def test_a_worker_that_crashed_left_its_traceback_in_its_log(outcome: Outcome) -> None:
    (log,) = (outcome.folder / "logs").glob("*raising*")
    assert "RuntimeError: planted in the step" in log.read_text()


def test_a_finished_run_is_not_measured_again(outcome: Outcome) -> None:
    before = (outcome.folder / RUN_FILE).read_bytes()
    again = subprocess.run(
        [STEPBENCH, "run", "--resume", outcome.run.run_id, "--results", str(outcome.folder.parent)],
        capture_output=True,
        check=False,
    )
    assert again.returncode == 1
    assert (outcome.folder / RUN_FILE).read_bytes() == before
