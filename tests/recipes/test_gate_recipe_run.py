"""The shell recipe with real gates: one of an innocent change, and one, by pytest, of a slower one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import places
import pytest
from recipes import Job, make_job, write_program

from stepbench.records.store import GATE_FILE

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

TINY = places.TINY
STEP = """
import tensorflow as tf

import stepbench
from stepbench.training.step import loss_of


@stepbench.variant("mine", claims="graph")
def mine(state):
    return tf.function(lambda x, y: loss_of(state.step((x, y))), autograph=False)
"""
INNOCENT = f"{STEP}# A comment.\n"
SLOWER = (
    STEP.replace("loss_of(state.step((x, y))), auto", "loss_of(state.step((x, y))) + 0 * product(x), auto")
    + """

def product(x):
    large = tf.fill((900, 900), tf.reduce_sum(x) * 0)
    return tf.reduce_sum(tf.linalg.matmul(large, large))
"""
)
BROKEN = STEP.replace("    return tf", "    raise RuntimeError('of main, not of this change')\n    return tf")
BENCHMARK = """
import pytest

pytestmark = pytest.mark.stepbench(
    workload="tiny.py:workload", plugin="step.py", execution="mine", precision="float32", device="cpu", batch_size="16"
)


def test_training_step(measured_step):
    assert measured_step.throughput
"""
QUICK = """
from stepbench.judge import gate as regression
from stepbench.engine import gate

for module, name, value in (
    (regression, "LOOKS", (2, 4, 6)), (gate, "FEWEST_QUADS", 3), (gate, "QUADS_S", 0.5), (gate, "BLOCK_S", 0.01)
):
    assert hasattr(module, name)
    setattr(module, name, value)
"""
STEPBENCH = f"""#!{sys.executable}
{QUICK}
from stepbench import cli

cli.main()
"""


def job_of(folder: Path, change: str) -> Job:
    """The change's branch of a repository whose main has broken the step since."""
    begin = {"tiny": TINY.read_text(), "step": STEP, "test_bench": BENCHMARK, "conftest": QUICK}
    job = make_job(folder, begin=begin, head={"step": change}, later={"step": BROKEN})
    write_program(job.programs, "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    write_program(job.programs, "stepbench", STEPBENCH)
    return job


def assert_one_gate_is_kept(results: Path) -> Path:
    (gate,) = results.glob(f"*/{GATE_FILE}")
    return gate.parent


def test_an_innocent_change_passes_and_its_verdict_is_in_the_summary(tmp_path: Path) -> None:
    job = job_of(tmp_path, INNOCENT)
    summary = tmp_path / "summary.md"
    done = job.run(
        *("origin/main", "--workload", "tiny.py:workload", "--plugin", "step.py", "--execution", "mine"),
        *("--precision", "float32", "--device", "cpu", "--batch-size", "16", "--threshold", "90%", "--budget", "3m"),
        GITHUB_STEP_SUMMARY=str(summary),
        GATE_RESULTS=str(tmp_path / "kept"),
    )
    assert done.returncode == 0, done.stderr
    assert summary.read_text() == done.stdout
    assert done.stdout.startswith("**PASS: the working tree (")
    assert f" against {job.base[:12]}, threshold 90.0%**" in done.stdout
    assert not (assert_one_gate_is_kept(tmp_path / "kept") / "tensorboard").exists()


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A slower change gated by pytest: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("slower")
    job = job_of(folder, SLOWER)
    done = job.run(
        *("origin/main", "--stepbench-threshold=5%", "--stepbench-budget=3m", "-p", "no:cacheprovider"),
        GATE_JUNIT=str(folder / "gate.xml"),
        GATE_TESTS="test_bench.py",
        GATE_RESULTS=str(folder / "kept"),
        COLUMNS="160",
    )
    return folder, done


def test_a_slower_change_fails_the_job_and_the_table_says_so(
    slower: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = slower
    assert done.returncode == 1, done.stderr
    assert "REGRESSION: the working tree (" in done.stdout
    kept = assert_one_gate_is_kept(folder / "kept")
    sessions = {path.name for path in (kept / "tensorboard" / "plugins" / "profile").iterdir()}
    assert sessions == {f"tiny--mine--float32--cpu--b16-{side}" for side in ("base", "head")}


def test_its_junit_names_the_commit_and_the_cause(slower: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    (case,) = ET.parse(slower[0] / "gate.xml").iter("testcase")  # noqa: S314
    (failure,) = case
    assert failure.tag == "failure"
    said = failure.get("message", "")
    assert said.startswith("Failed: regression: head / base ")
    assert " Change it" in said
    assert "Go on elsewhere" not in said
    assert "mainly for matrix product" in said
