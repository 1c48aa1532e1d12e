"""One run of fake workers most of which fail, through the command line: what the parent makes of each."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid

import faking
import places
import psutil
import pytest
from outcomes import Outcome

from stepbench.records.run import FailureKind
from stepbench.records.store import LOGS_FOLDER

MARK = "STEPBENCH_TEST_RUN"
ROUNDS = 2
INNOCENT = ("graph", "untidy")
FAULTY = {
    "raising": (FailureKind.ERROR, "RuntimeError: planted in the step"),
    "sleeping": (FailureKind.TIMEOUT, "no answer within 1 s"),
    "aborting": (FailureKind.CRASH, "SIGABRT"),
    "quitting": (FailureKind.CRASH, "exited with code 7"),
    "nan": (FailureKind.NON_FINITE, "after the first step"),
    "nan-later": (FailureKind.NON_FINITE, "steps"),
    "retracing": (FailureKind.NOT_PROVED, "traced again while it was timed"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    results = tmp_path_factory.mktemp("results")
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        done = faking.run(
            *("run", "--workload", faking.WORKLOAD, "--plugin", str(places.FAULTY)),
            *("--execution", ",".join((*INNOCENT, *FAULTY)), "--precision", "float32", "--device", "cpu"),
            *("--batch-size", "16", "--data", "synthetic", "--replicates", "1", "--rounds", str(ROUNDS)),
            *("--timeout", "1s", "--no-input-pipeline", "--no-verify", "--no-trace", "--results", str(results)),
        )
    return Outcome(done.returncode, results, done.stderr, survivors_after_2_s(mark))


def survivors_after_2_s(mark: str) -> tuple[str, ...]:
    deadline = time.monotonic() + 2
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return tuple(found)


def marked(mark: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # Other users' processes, and those that have just ended.
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
    return found


def test_failed_cases_are_a_finding_each_with_its_typed_failure_and_no_traceback(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.errors
    for execution, (kind, said) in FAULTY.items():
        failure = outcome[execution].failure
        assert failure is not None, execution
        assert (failure.kind, said in failure.message) == (kind, True), failure
    (log,) = (outcome.folder / LOGS_FOLDER).glob("*raising*")
    assert "RuntimeError: planted in the step" in log.read_text()


def test_the_others_are_measured_as_if_alone_and_undisturbed(outcome: Outcome) -> None:
    for execution in INNOCENT:
        measurement = outcome[execution]
        assert measurement.failure is None
        assert [len(replicate.blocks) for replicate in measurement.replicates] == [ROUNDS]
        assert measurement.replicates[0].closing is not None
    # The kernel counts in hundredths of a second.
    assert all(abs(block.leaked_cpu_s) <= 0.02 for block in outcome["graph"].replicates[0].blocks)


def test_no_process_outlives_the_command(outcome: Outcome) -> None:
    assert outcome.survivors == ()


def test_the_search_for_survivors_would_find_one() -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark}) as process:
        try:
            deadline = time.monotonic() + 10  # The kernel may not show its environment at once.
            while not (found := marked(mark)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found == ["sleep 60"]
        finally:
            process.kill()


def test_what_a_failed_case_had_measured_is_kept(outcome: Outcome) -> None:
    (replicate,) = outcome["nan-later"].replicates
    assert [block.loss for block in replicate.blocks] == [None]
    assert all(not outcome[execution].replicates for execution in FAULTY if execution not in ("nan-later", "retracing"))
    (replicate,) = outcome["retracing"].replicates
    assert len(replicate.blocks) == ROUNDS
    assert replicate.closing is not None
    assert replicate.closing.traces == 3


def test_nothing_is_traced_on_request(outcome: Outcome) -> None:
    assert outcome.run.plan.tracing is None
    assert all(not found.trace and not found.trace_failure for found in outcome.run.measurements)
    assert list((outcome.folder / LOGS_FOLDER).glob("*.trace.log")) == []
