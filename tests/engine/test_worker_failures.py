"""One run of users' variants that go wrong where only a real worker can tell, through the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import places
import pytest
from outcomes import Outcome

from stepbench.records.run import FailureKind
from stepbench.records.store import LOGS_FOLDER

pytestmark = pytest.mark.tensorflow

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
ROUNDS = 2

INNOCENT = ("graph", "chatty", "untidy")
FAULTY = {
    "raising": (FailureKind.ERROR, "RuntimeError: planted in the step"),
    "unbuildable": (FailureKind.ERROR, "ValueError: planted in the factory"),
    "quitting": (FailureKind.CRASH, "exited with code 7"),
    "hoarding": (FailureKind.OUT_OF_MEMORY, "out of memory"),
    "exhausting": (FailureKind.OUT_OF_MEMORY, "planted in the step"),
    "nan": (FailureKind.NON_FINITE, "after the first step"),
    "nan-later": (FailureKind.NON_FINITE, "steps"),
    "retracing": (FailureKind.NOT_PROVED, "traced again while it was timed"),
    "pretending": (FailureKind.NOT_PROVED, "XLA compiled nothing"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    results = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [
            *(STEPBENCH, "run", "--workload", f"{places.TINY}:workload", "--plugin", str(places.FAULTY)),
            *("--execution", ",".join((*INNOCENT, *FAULTY)), "--precision", "float32", "--device", "cpu"),
            *("--batch-size", "16", "--data", "synthetic", "--replicates", "1", "--rounds", str(ROUNDS)),
            *("--no-input-pipeline", "--no-verify", "--no-trace", "--results", str(results)),
        ],
        capture_output=True,
        check=False,
    )
    return Outcome(done.returncode, results)


def test_a_faulty_variant_has_its_typed_failure(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    for execution, (kind, said) in FAULTY.items():
        failure = outcome[execution].failure
        assert failure is not None, execution
        assert (failure.kind, said in failure.message) == (kind, True), failure


def test_the_others_are_measured_as_if_alone(outcome: Outcome) -> None:
    for execution in INNOCENT:
        measurement = outcome[execution]
        assert measurement.failure is None
        assert [len(replicate.blocks) for replicate in measurement.replicates] == [ROUNDS]
        assert all(block.loss is not None for block in measurement.replicates[0].blocks)


def test_a_thread_that_never_rests_disturbs_no_other_case(outcome: Outcome) -> None:
    # The kernel counts in hundredths of a second.
    blocks = [block for name in ("graph", "chatty") for block in outcome[name].replicates[0].blocks]
    assert all(abs(block.leaked_cpu_s) <= 0.02 for block in blocks)


def test_a_loss_that_turns_nan_is_kept_as_the_block_it_was_seen_in(outcome: Outcome) -> None:
    (replicate,) = outcome["nan-later"].replicates
    assert replicate.evidence.loss is not None
    assert replicate.blocks[-1].loss is None


def test_traces_during_timing_are_counted(outcome: Outcome) -> None:
    (replicate,) = outcome["retracing"].replicates
    assert replicate.evidence.traces == 1
    assert replicate.closing is not None
    # At least one call a block.
    assert replicate.closing.traces >= ROUNDS


def test_what_users_print_is_in_the_log_and_not_taken_for_a_reply(outcome: Outcome) -> None:
    (log,) = (outcome.folder / LOGS_FOLDER).glob("*chatty*")
    assert log.read_text().count("printed, not sent") > 10_000


def test_a_worker_whose_step_raised_left_its_traceback_in_its_log(outcome: Outcome) -> None:
    (log,) = (outcome.folder / LOGS_FOLDER).glob("*raising*")
    assert "RuntimeError: planted in the step" in log.read_text()
