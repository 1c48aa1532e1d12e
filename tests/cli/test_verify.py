"""``stepbench verify`` through the command line: innocent, killed and resumed; and users' own steps that go wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import places
import pytest
from processes import soon, workers_of

from stepbench.records.store import JOURNAL_FILE

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
WORKLOAD = f"{places.TINY}:workload"
STEPS = 150
SEEDS = 4
LONG_S = 300

USERS_FILE = """
import os

import tensorflow as tf

import stepbench


def plain(state, change=lambda gradients: gradients):
    weights = state.model.trainable_variables

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = state.loss(y, state.model(x, training=True))
        state.optimizer.apply(change(tape.gradient(loss, weights)), weights)
        return loss

    return step


def counted(state, act):
    step, calls = plain(state), 0

    def counting(x, y):
        nonlocal calls
        calls += 1
        return act(calls, step, x, y)

    return counting


@stepbench.variant("honest")
def honest(state):
    return plain(state)


@stepbench.variant("too-steep")
def too_steep(state):
    return plain(state, lambda gradients: [1.5 * gradients[0], *gradients[1:]])


@stepbench.variant("late")
def late(state):
    # Of each training, the steps after the hundredth do nothing.
    def act(calls, step, x, y):
        if (calls - 1) % STEPS < 100:
            return step(x, y)
        return state.loss(y, state.model(x, training=True))

    return counted(state, act)


@stepbench.variant("nan-midway")
def nan_midway(state):
    return counted(state, lambda calls, step, x, y: step(x, y) * (float("nan") if calls > 60 else 1.0))


@stepbench.variant("aborting")
def aborting(state):
    return lambda x, y: os.abort()


@stepbench.variant("raising-midway")
def raising_midway(state):
    def act(calls, step, x, y):
        if calls > 60:
            raise RuntimeError("planted in step 61")
        return step(x, y)

    return counted(state, act)
""".replace("STEPS", str(STEPS))


@dataclass(frozen=True)
class Verified:
    """What a command and the report of its run gave."""

    exit_code: int
    errors: str
    cases: dict[str, Any]

    def verdict(self, execution: str, precision: str = "float32") -> tuple[str, str]:
        """The verdict of a case, and its reasons in one text."""
        found = self.cases[f"tiny/{execution}/{precision}/cpu/b32"]["equivalence"]
        return found["verdict"], "; ".join(found["why"])


def verify(results: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(STEPBENCH, "verify", "--workload", WORKLOAD, "--device", "cpu", "--batch-size", "32"),
            *("--data", "synthetic", "--steps", str(STEPS), "--seeds", str(SEEDS), "--results", str(results)),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def reported(results: Path, process: subprocess.Popen[str]) -> Verified:
    _, errors = process.communicate(timeout=LONG_S)
    command = [STEPBENCH, "report", "--format", "json", "--results", str(results)]
    report = subprocess.run(command, capture_output=True, text=True, check=True)
    cases = {case["id"]: case for case in msgspec.json.decode(report.stdout)["cases"]}
    return Verified(process.returncode, errors, cases)


def tags_of(results: Path) -> list[str]:
    """The kinds of events in the journal, of the lines that are whole."""
    text = b"".join(path.read_bytes() for path in results.glob(f"2*/{JOURNAL_FILE}"))
    return [msgspec.json.decode(line)["type"] for line in text[: text.rfind(b"\n") + 1].splitlines()]


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """A user's file with one honest step and several that go wrong, all in one run."""
    folder = tmp_path_factory.mktemp("users")
    plugin = folder / "steps.py"
    plugin.write_text(USERS_FILE)
    executions = "graph,honest,too-steep,late,nan-midway,aborting,raising-midway"
    arguments = ("--plugin", str(plugin), "--execution", executions, "--precision", "float32")
    with verify(folder / "results", *arguments) as process:
        return reported(folder / "results", process)


def test_an_innocent_selection_is_equivalent_and_fine_also_when_killed_and_resumed(tmp_path: Path) -> None:
    with verify(tmp_path, "--execution", "eager,graph", "--precision", "float32,mixed_bfloat16") as process:
        assert soon(lambda: "curve" in tags_of(tmp_path) or process.poll() is not None, LONG_S)
        workers = workers_of(process.pid)
        assert workers
        process.send_signal(signal.SIGKILL)
        assert soon(lambda: not workers_of(process.pid), 5)
        process.communicate(timeout=LONG_S)
    kept = tags_of(tmp_path)
    assert kept.count("agreement") == 4

    (folder,) = (path for path in tmp_path.glob("2*") if path.is_dir() and not path.is_symlink())
    resumed = [STEPBENCH, "run", "--resume", folder.name, "--results", str(tmp_path)]
    with subprocess.Popen(resumed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        verified = reported(tmp_path, process)
    assert verified.exit_code == 0
    assert len(verified.cases) == 4
    for case in verified.cases.values():
        assert case["status"] == "ok"
        assert case["equivalence"]["verdict"] == "equivalent"
        assert case["equivalence"]["why"]


def test_a_finding_is_exit_code_1_without_a_traceback(users: Verified) -> None:
    assert users.exit_code == 1
    assert "Traceback" not in users.errors


@pytest.mark.parametrize(
    ("execution", "verdict", "reason"),
    [
        ("graph", "equivalent", ""),
        ("honest", "equivalent", ""),
        ("too-steep", "different", r"/kernel is 1\.500× as long as it should be"),
        # By steps that the reference takes too, or, where none of these was late enough, by what came of it.
        ("late", "different", r"as it trained, gradient of|final training loss \+"),
        ("nan-midway", "different", r"^the loss is NaN or infinite from step \d+ on \(seed 0\)"),
        ("aborting", "not_checked", "^crash: "),
        ("raising-midway", "not_checked", "planted in step 61"),
    ],
)
def test_each_step_of_a_users_has_its_verdict_for_its_own_reason(
    users: Verified, execution: str, verdict: str, reason: str
) -> None:
    found, why = users.verdict(execution)
    assert found == verdict
    assert re.search(reason, why)


def test_a_training_that_goes_nan_says_when(users: Verified) -> None:
    # The calls that it counts include those of level 1, in the same process.
    found = re.search(r"from step (\d+) on", users.verdict("nan-midway")[1])
    assert found
    assert 1 < int(found[1]) <= 61
