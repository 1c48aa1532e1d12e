"""``stepbench profile`` and ``stepbench explain`` through the command line: steps with one slow thing added to each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import places
import pytest
from invoking import Invoke

from stepbench.records.store import LOGS_FOLDER, RUN_FILE, TENSORBOARD_FOLDER, Run, Store, session_of
from stepbench.report.html.files import REPORT_FILE

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
SLOWED = places.SLOWED
EXECUTIONS = ("eager", "graph", "extra-matmul", "callback", "cast-pair", "slow-input")
CAUSES = {
    "extra-matmul": ("graph", "matrix product", "MatMul"),
    "callback": ("graph", "Python callback", "PyFunc"),
    "cast-pair": ("graph", "cast and copy", "Cast"),
    "slow-input": ("eager", "input", "IteratorGetNext"),
}
"""Of what is slower: than what it is, and what makes it so."""


@dataclass(frozen=True)
class Profiled:
    """What the command left behind."""

    exit_code: int
    errors: str
    results: Path
    run: Run

    @property
    def folder(self) -> Path:
        return self.results / self.run.run_id


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    results = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [
            *(STEPBENCH, "profile", "--workload", f"{SLOWED}:workload", "--plugin", str(SLOWED)),
            *("--execution", ",".join(EXECUTIONS), "--precision", "float32", "--device", "cpu"),
            *("--batch-size", "32", "--data", "synthetic", "--results", str(results)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return Profiled(done.returncode, done.stderr, results, Store(results).read())


@pytest.fixture
def invoke(profiled: Profiled, in_process: Invoke) -> Invoke:
    """Call the command line on the results."""

    def call(*arguments: str, results: Path = profiled.results) -> tuple[int, str, str]:
        return in_process(*arguments, "--results", str(results))

    return call


def case_id(execution: str) -> str:
    return f"slowed/{execution}/float32/cpu/b32"


def test_each_case_of_a_fine_profile_has_the_session_that_is_named_after_it_and_no_more_is_left(
    profiled: Profiled,
) -> None:
    assert (profiled.exit_code, "Traceback" in profiled.errors) == (0, False)
    assert profiled.run.finished is not None
    for found in profiled.run.measurements:
        assert found.trace is not None
        assert found.trace.path == session_of(found.case.id)
        assert len(list((profiled.folder / found.trace.path).glob("*.xplane.pb"))) == 1
    kept = {RUN_FILE, LOGS_FOLDER, TENSORBOARD_FOLDER, REPORT_FILE}
    assert {path.name for path in profiled.folder.iterdir()} == kept
    sessions = {path.name for path in (profiled.folder / TENSORBOARD_FOLDER / "plugins" / "profile").iterdir()}
    assert sessions == {f"slowed--{execution}--float32--cpu--b32" for execution in EXECUTIONS}


def test_the_report_has_each_cases_trace_and_profile(invoke: Invoke) -> None:
    code, out, _ = invoke("report", "--format", "json")
    assert code == 0
    for case in msgspec.json.decode(out)["cases"]:
        assert case["trace"] == session_of(case["id"])
        profile = case["profile"]
        for sums in (profile["parts"], profile["categories"]):
            assert sum(sums.values()) == pytest.approx(profile["step_s"])


@pytest.mark.parametrize("slower", CAUSES)
def test_what_was_planted_is_named_as_the_main_cause(invoke: Invoke, slower: str) -> None:
    faster, category, operation = CAUSES[slower]
    code, out, _ = invoke("explain", faster, slower, "--format", "json")
    assert code == 0
    explained = msgspec.json.decode(out)
    assert (explained["a"]["id"], explained["b"]["id"]) == (case_id(faster), case_id(slower))
    first = explained["lines"][0]
    assert (first["category"], first["mostly"]) == (category, operation)
    assert first["difference_s"] > 0
    code, out, _ = invoke("explain", faster, slower)
    assert code == 0
    assert f"mainly for {category}" in " ".join(out.split())


def test_explaining_starts_no_worker_and_imports_no_tensorflow(profiled: Profiled) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", STEPBENCH, "explain", "eager", "graph", "--results", profiled.results],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "msgspec" in imported
    assert {"tensorflow", "keras", "xprof", "tensorboard"} & imported == set()


def other_run(profiled: Profiled, folder: Path, **changes: Any) -> Run:
    """A run of another id beside a copy of the profiled one."""
    shutil.copytree(profiled.results, folder, symlinks=True)
    run = msgspec.structs.replace(profiled.run, run_id="20260102-030405-abcd", **changes)
    Store(folder).write(run)
    return run


def test_a_case_is_explained_against_itself_in_another_run(profiled: Profiled, invoke: Invoke, tmp_path: Path) -> None:
    other = other_run(profiled, tmp_path / "results")
    named = f"{other.run_id}:graph"
    code, out, _ = invoke("explain", "callback", named, "--format", "json", results=tmp_path / "results")
    assert code == 0
    explained = msgspec.json.decode(out)
    assert (explained["a"]["run_id"], explained["b"]["run_id"]) == (profiled.run.run_id, other.run_id)
    assert explained["lines"][0]["category"] == "Python callback"
    code, out, _ = invoke("explain", "graph", named, "--format", "json", results=tmp_path / "results")
    assert code == 0
    assert msgspec.json.decode(out)["difference_s"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("graph", "no-such"), "There is no traced case 'no-such'"),
        (("graph", "graph"), "name one and the same case"),
        (("graph", "no-such-run:eager"), "There is no run 'no-such-run'"),
        (("graph", "eager", "--run", "no-such-run"), "There is no run 'no-such-run'"),
        (("graph", "eager", "--format", "csv"), "no table"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(invoke: Invoke, arguments: tuple[str, ...], said: str) -> None:
    code, out, errors = invoke("explain", *arguments)
    assert (code, out) == (2, "")
    (line,) = errors.splitlines()
    assert said in line


def test_a_run_without_traces_says_how_to_make_some(profiled: Profiled, invoke: Invoke, tmp_path: Path) -> None:
    untraced = tuple(msgspec.structs.replace(found, trace=None) for found in profiled.run.measurements)
    other = other_run(profiled, tmp_path / "results", measurements=untraced)
    code, out, errors = invoke("explain", "graph", f"{other.run_id}:eager", results=tmp_path / "results")
    assert (code, out) == (2, "")
    (line,) = errors.splitlines()
    assert line.endswith(f"Run {other.run_id} has no traces: make some with 'stepbench profile'.")
