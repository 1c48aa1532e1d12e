from __future__ import annotations

import json
import subprocess
from pathlib import Path

import places
import pytest
from pytests import run_pytest

from stepbench.pytest_plugin.plugin import ReplayClock
from stepbench.records.store import Store

TINY = places.TINY
BENCHMARK = f"""
import pytest

pytestmark = pytest.mark.stepbench(
    workload="{TINY}:workload", execution="graph,xla,broken", precision="float32", batch_size="16", plugin="broken.py"
)


def test_training_step(measured_step):
    assert measured_step.throughput.value > 0


def test_convergence(verified_step):
    assert verified_step.equivalence.verdict == "equivalent"
"""
TIMED_ALONE = ("--stepbench-no-verify", "--stepbench-no-trace")
BROKEN = """
import stepbench


@stepbench.variant("broken")
def broken(state):
    def step(x, y):
        raise RuntimeError("the step is broken")

    return step
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's repository with a benchmark of about ten lines."""
    made = tmp_path_factory.mktemp("repository")
    (made / "test_bench.py").write_text(BENCHMARK.replace("graph,xla,broken", "graph,broken"))
    (made / "broken.py").write_text(BROKEN)
    return made


@pytest.fixture(scope="module")
def finished(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_pytest(folder, "--stepbench-replicates=1", "--stepbench-rounds=2", *TIMED_ALONE)


@pytest.mark.tensorflow
def test_each_case_is_a_test_and_a_failed_case_a_failed_one(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 1
    assert "1 passed" in finished.stdout
    assert "the step is broken" in finished.stdout
    assert "2 failed" in finished.stdout  # The broken case, as a measured and as a verified one.
    assert "1 skipped" in finished.stdout  # Nothing was verified.


@pytest.mark.tensorflow
def test_the_run_and_the_benchmark_data_are_left_behind(
    folder: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    assert finished.returncode == 1
    run = Store(folder / "results").read()
    stored = json.loads((folder / "results" / run.run_id / "benchmark.json").read_text())
    by_case = {benchmark["extra_info"]["case"]: benchmark["stats"] for benchmark in stored["benchmarks"]}
    assert set(by_case) == {"tiny/graph/float32/cpu/b16"}
    for measurement in run.measurements:
        if measurement.case.id in by_case:
            seconds = [block.seconds / block.steps for part in measurement.replicates for block in part.blocks]
            assert by_case[measurement.case.id]["data"] == pytest.approx(seconds)


FAKES = f"""
import sys

sys.path.insert(0, {str(places.TESTS)!r})
import faking
from stepbench.engine import processes

processes.COMMAND, processes.SERVER = faking.FAKE, faking.SERVER
"""


def test_only_what_is_selected_is_measured(tmp_path: Path) -> None:
    for name, text in {"test_bench.py": BENCHMARK, "broken.py": BROKEN, "conftest.py": FAKES}.items():
        (tmp_path / name).write_text(text)
    finished = run_pytest(
        tmp_path,
        "-k",
        "xla and training_step",
        "--stepbench-replicates=1",
        "--stepbench-rounds=1",
        *TIMED_ALONE,
        "--stepbench-results=elsewhere",
        "--benchmark-json=mine.json",
    )
    assert finished.returncode == 0, finished.stdout
    run = Store(tmp_path / "elsewhere").read()
    assert [measurement.case.id for measurement in run.measurements] == ["tiny/xla/float32/cpu/b16"]
    assert len(json.loads((tmp_path / "mine.json").read_text())["benchmarks"]) == 1


def test_a_wrong_marker_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_bench.py").write_text(BENCHMARK.replace("float32", "float31"))
    finished = run_pytest(tmp_path)
    assert finished.returncode != 0
    assert "--precision knows no 'float31'" in finished.stdout + finished.stderr


def test_the_clock_passes_by_what_it_was_given() -> None:
    clock = ReplayClock()
    clock.load([0.5, 0.25])
    times = [clock()]
    for _ in range(3):
        clock.advance()
        times.append(clock())
    assert times == [0.0, 0.5, 0.75, 0.75]
