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
    "quitting": (FailureKind.CRASH, "exited with code 7"),
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


def test_a_faulty_variant_has_its_typed_failure_and_its_traceback_in_its_log(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    for execution, (kind, said) in FAULTY.items():
        failure = outcome[execution].failure
        assert failure is not None, execution
        assert (failure.kind, said in failure.message) == (kind, True), failure
    (log,) = (outcome.folder / LOGS_FOLDER).glob("*raising*")
    assert "RuntimeError: planted in the step" in log.read_text()


def test_the_others_are_measured_as_if_alone_whatever_they_print(outcome: Outcome) -> None:
    for execution in INNOCENT:
        measurement = outcome[execution]
        assert measurement.failure is None
        assert [len(replicate.blocks) for replicate in measurement.replicates] == [ROUNDS]
        assert all(block.loss is not None for block in measurement.replicates[0].blocks)
    # The kernel counts in hundredths of a second.
    blocks = [block for name in ("graph", "chatty") for block in outcome[name].replicates[0].blocks]
    assert all(abs(block.leaked_cpu_s) <= 0.02 for block in blocks)
    (log,) = (outcome.folder / LOGS_FOLDER).glob("*chatty*")
    assert log.read_text().count("printed, not sent") > 10_000


def test_what_a_failed_variant_had_measured_is_kept(outcome: Outcome) -> None:
    (replicate,) = outcome["nan-later"].replicates
    assert replicate.evidence.loss is not None
    assert replicate.blocks[-1].loss is None
    (replicate,) = outcome["retracing"].replicates
    assert replicate.evidence.traces == 1
    assert replicate.closing is not None
    # At least one call a block.
    assert replicate.closing.traces >= ROUNDS
