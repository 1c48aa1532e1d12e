"""``stepbench gate`` on a repository whose last commit makes one step slower and breaks another."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import places
import pytest
from repositories import commit, git, make_repository
from xprof.protobuf.op_stats_pb2 import OpStats

from stepbench import cli
from stepbench.engine import gate as measuring
from stepbench.engine.processes import SHARED
from stepbench.judge import gate as regression
from stepbench.judge.gate import judge_gate
from stepbench.records.gate import Gate, SideName
from stepbench.records.store import GATE_FILE, LOGS_FOLDER, TENSORBOARD_FOLDER, session_of
from stepbench.report.gate import report
from stepbench.report.html.files import REPORT_FILE
from stepbench.report.tensorboard import STATISTICS_FILE

pytestmark = pytest.mark.tensorflow

STEP = """
import tensorflow as tf

import stepbench
from stepbench.training.step import loss_of


def compiled(state, more):
    return tf.function(lambda x, y: loss_of(state.step((x, y))) + 0 * more(x), autograph=False)


@stepbench.variant("mine", claims="graph")
def mine(state):
    return compiled(state, lambda x: 0.0)


@stepbench.variant("elsewhere", claims="graph")
def elsewhere(state):
    import packaged

    return compiled(state, lambda x: packaged.NOTHING)


@stepbench.variant("breaking", claims="graph")
def breaking(state):
    return compiled(state, lambda x: 0.0)
"""
SLOWER_AND_BROKEN = (
    STEP.replace("compiled(state, lambda x: 0.0)", "compiled(state, product)", 1).replace(
        "    return compiled(state, lambda x: 0.0)", "    raise RuntimeError('planted in head')"
    )
    + """

def product(x):
    large = tf.fill((900, 900), tf.reduce_sum(x) * 0)
    return tf.reduce_sum(tf.linalg.matmul(large, large))
"""
)


LOOKS = (3, 4, 6)


@dataclass(frozen=True)
class Found:
    """What the command printed and left behind."""

    exit_code: int | str | None
    judgement: dict[str, Any]
    gate: Gate
    repository: Path
    folder: Path

    @property
    def page(self) -> str:
        return (self.folder / REPORT_FILE).read_text()

    @property
    def logs(self) -> list[str]:
        return [path.name for path in (self.folder / LOGS_FOLDER).iterdir()]

    def case(self, execution: str) -> dict[str, Any]:
        (case,) = (case for case in self.judgement["cases"] if case["id"] == f"tiny/{execution}/float32/cpu/b16")
        found: dict[str, Any] = case
        return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The only gate that is measured here, with fewer blocks a pair and an earlier look than usual."""
    folder = tmp_path_factory.mktemp("gate")
    repository = make_repository(folder / "repository")
    shutil.copy(places.TINY, repository)
    (repository / "packages").mkdir()
    (repository / "packages" / "packaged.py").write_text("NOTHING = 0.0\n")
    commit(repository, "Begin", step=STEP)
    commit(repository, "Plant a product", step=SLOWER_AND_BROKEN)
    command = [
        *("stepbench", "gate", "--base", "HEAD~1", "--repo", ".", "--workload", "tiny.py:workload"),
        *("--plugin", "step.py", "--execution", "mine,breaking,elsewhere", "--precision", "float32", "--device", "cpu"),
        *("--batch-size", "16", "--budget", "5m", "--results", str(folder / "results"), "--format", "json"),
    ]
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setattr(regression, "LOOKS", LOOKS)
        patch.setattr(SHARED, "renew", lambda: None)  # Pairs from one interpreter: looked at in test_processes.py.
        patch.setattr(measuring, "FEWEST_QUADS", 3)
        patch.setattr(measuring, "QUADS_S", 0.5)
        patch.setattr(sys, "argv", command)
        patch.chdir(repository)
        patch.setenv("PYTHONPATH", str(repository / "packages"))  # As an editable installation is found.
        with pytest.raises(SystemExit) as exited:
            cli.app()
    (stored,) = (folder / "results").glob(f"*/{GATE_FILE}")
    gate = msgspec.json.decode(stored.read_bytes(), type=Gate)
    return Found(exited.value.code, msgspec.json.decode(output.getvalue()), gate, repository, stored.parent)


def test_the_file_that_differs_was_imported_by_both_sides(found: Found) -> None:
    assert found.gate.changed == 1
    sides = [side for case in found.gate.cases for pair in case.pairs for side in (pair.base, pair.head)]
    assert {side.changed_imported for side in sides} == {1}


def test_a_slower_step_is_a_regression_of_as_many_pairs_as_it_takes_each_of_fresh_processes(found: Found) -> None:
    mine = found.case("mine")
    assert mine["verdict"] == "regression"
    assert mine["ratio"]["value"] > 1.5
    assert mine["ratio"]["low"] > 1
    assert LOOKS[0] < mine["pairs"] <= LOOKS[-1] + 1
    pairs = found.case("mine")["pairs"]
    assert len([name for name in found.logs if "mine" in name and "trace" not in name]) == 2 * pairs
    assert len([name for name in found.logs if "breaking" in name]) == 2


def test_a_head_that_raises_is_broken_with_its_side_and_its_reason_at_once(found: Found) -> None:
    broken = found.case("breaking")
    assert (broken["verdict"], broken["pairs"], broken["ratio"]) == ("broken", 0, None)
    assert broken["why"] == ["head fails: error: RuntimeError: planted in head"]


def test_a_base_that_imports_the_working_tree_is_broken_as_it_would_pass_whatever_changes(found: Found) -> None:
    broken = found.case("elsewhere")
    assert (broken["verdict"], broken["pairs"]) == ("broken", 0)
    (why,) = broken["why"]
    place = found.repository / "packages" / "packaged.py"
    assert why.startswith(f"base fails: error: packaged is imported from {place}, which is another revision: ")


def test_the_json_is_as_promised_and_what_is_stored_judges_alike(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found.exit_code == 1
    assert set(found.judgement) == {"schema", "verdict", "threshold", "cases"}
    assert (found.judgement["schema"], found.judgement["verdict"]) == (1, "broken")
    assert found.judgement["threshold"] == 0.02
    for case in found.judgement["cases"]:
        expected = {"id", "verdict", "ratio", "smallest_detectable", "pairs", "seconds", "why", "explanation"}
        assert set(case) == expected
    assert set(found.case("mine")["ratio"]) == {"value", "low", "high", "confidence"}
    monkeypatch.setattr(regression, "LOOKS", LOOKS)
    assert msgspec.json.decode(msgspec.json.encode(report(found.gate, judge_gate(found.gate)))) == found.judgement
    for case in found.gate.cases:
        assert [pair.number for pair in case.pairs] == list(range(len(case.pairs)))
        assert all(len(pair.quads) >= 3 for pair in case.pairs)
        for pair in case.pairs:
            assert pair.base.functions_traced == pair.head.functions_traced == 1
            assert min(pair.base.first_call_s, pair.head.first_call_s) > 0


def test_a_regression_is_explained_by_what_head_planted_also_on_the_page(found: Found) -> None:
    explanation = found.case("mine")["explanation"]
    sides = [explanation[side] for side in ("a", "b")]
    assert [side["revision"] for side in sides] == ["base", "head"]
    assert sides[1]["step_time_s"]["value"] / sides[0]["step_time_s"]["value"] > 1.5
    first = explanation["lines"][0]
    assert (first["category"], first["mostly"]) == ("matrix product", "MatMul")
    assert first["difference_s"] > 0
    assert found.case("breaking")["explanation"] is None
    assert found.page.count("matrix product") >= 1
    assert "Plant a product" in found.page


def test_both_traces_are_kept_where_tensorboard_looks(found: Found) -> None:
    (mine,) = (case for case in found.gate.cases if case.case.variant.execution == "mine")
    sessions = {side: f"{session_of(mine.case.id)}-{side}" for side in SideName}
    assert {side: trace.path for side, trace in mine.traces.items()} == sessions
    assert mine.untraced == ""
    kept = found.folder / TENSORBOARD_FOLDER / "plugins" / "profile"
    assert {path.name for path in kept.iterdir()} == {Path(session).name for session in sessions.values()}
    for session in kept.iterdir():
        assert len(list(session.glob("*.xplane.pb"))) == 1
        statistics = OpStats.FromString((session / STATISTICS_FILE).read_bytes())
        assert statistics.run_environment.is_training
    assert {path.name for path in found.folder.iterdir()} == {GATE_FILE, LOGS_FOLDER, TENSORBOARD_FOLDER, REPORT_FILE}


def test_the_repository_is_left_as_it_was(found: Found) -> None:
    assert len(git(found.repository, "worktree", "list").splitlines()) == 1
    assert git(found.repository, "status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.parametrize(
    ("seconds", "calls"), [([0.3, 0.1, 0.2], 3), ([9.0, 0.1, 0.2], 3), ([9.0, 2.5], 2), ([0.1, 9.0, 2.0], 3)]
)
def test_a_step_is_warm_after_three_calls_or_two_long_ones(seconds: list[float], calls: int) -> None:
    from stepbench.worker import timing

    times = iter([time for one in seconds for time in (0.0, one)])
    called: list[None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stepbench.worker.timing.time", SimpleNamespace(perf_counter=lambda: next(times)))
        assert timing.warm_up(lambda: called.append(None)) == min(seconds)
    assert len(called) == calls


def test_a_planted_slowdown_takes_its_share_of_the_calls_time_longer() -> None:
    from stepbench.worker import timing

    times = iter([10.0, 12.0, 12.5, 12.9, 13.0, 99.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stepbench.worker.timing.time", SimpleNamespace(perf_counter=lambda: next(times)))
        longer = timing.slowed(lambda batch: batch, 0.5)
        assert longer((1, 2)) == (1, 2)
    assert list(times) == [99.0]
