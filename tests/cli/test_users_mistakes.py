"""Models, data and scripts of users' own that go wrong: one typed failure or one sentence each, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import places
import psutil
import pytest
from outcomes import Outcome

from stepbench.records.run import FailureKind

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
MISTAKES = places.WORKLOADS / "mistakes.py"
ASLEEP_S = "3607"
FAULTY = {
    "raising": (FailureKind.ERROR, "RuntimeError: planted in train_step"),
    "misfit": (FailureKind.ERROR, "Incompatible shapes: [8,5] vs. [8,3]"),
    "ends-early": (FailureKind.ERROR, "The data ended after 3 batches: give a pipeline that can be gone over again"),
    "other-shapes": (FailureKind.ERROR, "expected axis -1 of input shape to have value 4"),
    "hanging": (FailureKind.TIMEOUT, "It gave no answer within 20 s."),
    "not-a-number": (FailureKind.NON_FINITE, ""),
}
SCRIPT = """
import subprocess, sys
import keras, numpy as np
{before}
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("sgd", "mse")
model.fit(np.ones((64, 4)), np.ones((64, 3)), batch_size=8)
"""


def call(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Measure in one short round; nobody types anything."""
    command = [
        *(STEPBENCH, "run", "--execution", "eager", "--precision", "float32", "--device", "cpu", "--data", "synthetic"),
        *("--replicates", "1", "--rounds", "1", "--timeout", "20s", "--results", str(results)),
        *("--no-input-pipeline", "--no-verify", "--no-trace", *arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def script(folder: Path, before: str) -> Path:
    path = folder / "train.py"
    path.write_text(SCRIPT.format(before=before))
    return path


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All that fails in a worker of its own, and one that does not, in one run."""
    folder = tmp_path_factory.mktemp("mistakes")
    spawning = script(folder, f'subprocess.Popen(["sleep", "{ASLEEP_S}"])')
    workloads = [*(f"{MISTAKES}:{name.replace('-', '_')}" for name in FAULTY), str(spawning)]
    done = call(folder / "results", "--workload", ",".join(workloads), "--batch-size", "8")
    return Outcome(done.returncode, folder / "results", done.stderr)


@pytest.mark.parametrize("workload", FAULTY)
def test_each_mistake_is_one_typed_failure(workload: str, outcome: Outcome) -> None:
    kind, said = FAULTY[workload]
    failure = outcome[workload].failure
    assert failure is not None
    assert (failure.kind, said in failure.message, "\n" in failure.message) == (kind, True, False), failure


def test_the_innocent_is_measured_and_the_terminal_shows_no_traceback(outcome: Outcome) -> None:
    assert outcome.exit_code == 1
    assert outcome["train"].failure is None
    assert outcome["train"].replicates[0].blocks
    assert "Traceback" not in outcome.errors


def test_what_a_script_spawned_ends_with_its_worker(outcome: Outcome) -> None:
    assert outcome["train"].replicates
    left = [process.pid for process in psutil.process_iter(["cmdline"]) if ASLEEP_S in (process.info["cmdline"] or [])]
    assert left == []


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("sys.exit('which rate?')", "train.py exits before it calls fit() (which rate?): give it the arguments"),
        ("input('rate? ')", "train.py reads from the standard input, where nothing is: have it take arguments."),
    ],
    ids=["exits", "reads"],
)
def test_a_script_that_does_not_get_to_fit_is_one_sentence(before: str, sentence: str, tmp_path: Path) -> None:
    done = call(tmp_path / "results", "--workload", str(script(tmp_path, before)))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"stepbench: {sentence}")
    assert sorted(path.name for path in tmp_path.iterdir()) in (["train.py"], ["results", "train.py"])
