"""``stepbench tune`` on the command line, with fake workers: what is printed, and wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import faking
import pytest
from fake_worker import SPEED
from invoking import Invoke
from processes import ended, soon, workers_of

ASKED = ["--workload", faking.WORKLOAD, "--data", "synthetic", "--execution", "graph", "--precision", "float32"]
ASKED += ["--steps-per-call", "1", "--setting", f"env:{SPEED}=0.5"]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: Invoke) -> Invoke:
    """Call the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return in_process


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("--budget 5s", "too short for one round"),
        ("--fix onednn", "takes NAME=VALUE"),
        ("--fix nope=1", "no setting 'nope'"),
        ("--fix malloc=tcmalloc --fix malloc=jemalloc", "two values"),
        ("--fix onednn=off --setting onednn=on", "contradicts what else is asked for: on"),
        ("--fix execution=eager --execution graph", "contradicts what else is asked for: graph"),
        ("--fix execution=eager --fix steps_per_call=20", "takes one step a call"),
        ("--fix processors=99999", "processors cannot be 99999"),
        ("--fix steps_per_call=1,20", "one value here"),
        ("--fix precision=float32,mixed_bfloat16", "contradicts"),
        ("--fix precision=float8", "knows no 'float8'"),
        ("--allow everything", "knows no 'everything'"),
        ("--setting tf32=off --device cpu", "one of GPUs"),
        ("--setting threads=2", "no setting 'threads'"),
        ("--batch-size 32,64", "one value here"),
        ("--steps 0", "at least 1"),
        ("--format csv", "--format text, json or markdown"),
        ("--resume nope", "There is no run 'nope'"),
    ],
)
def test_wrong_use_is_one_sentence(invoke: Invoke, wrong: str, why: str) -> None:
    code, _, errors = invoke("tune", "--workload", faking.WORKLOAD, "--data", "synthetic", *wrong.split())
    assert code == 2
    (sentence,) = errors.splitlines()[-1:]
    assert why in sentence
    assert sentence.endswith(".")


def test_what_is_printed_is_the_contract_and_can_be_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = faking.run("tune", *ASKED, "--budget", "60s", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert found["winner"].keys() == {"id", "step_time_s", "speedup", "equivalence"}
    assert found["default"].keys() == {"id", "step_time_s"}
    assert found["winner"]["equivalence"]["verdict"] == "equivalent"
    assert found["winner"]["speedup"]["value"] == pytest.approx(2, rel=0.05)
    assert found["apply"] == {"env": {SPEED: "0.5"}, "python": ""}
    assert found["candidates"] == found["measured"] == 2
    assert found["ties"] == []
    assert [one.keys() for one in found["eliminated"]] == [{"id", "why", "after_s"}]
    again = faking.run("tune", "--resume", found["run_id"])
    assert again.returncode == 0
    assert f"export {SPEED}=0.5" in again.stdout
    assert "] as fast as tiny/graph/float32/cpu/b64, equivalent" in " ".join(again.stdout.split())
    once_more = ("--no-verify", "--no-trace", "--replicates", "2", "--rounds", "1")
    measured = faking.run("run", "--tuned", *once_more)
    assert measured.returncode == 0
    assert f"graph/float32/env:{SPEED}=0.5" in measured.stdout
    assert "the default and the winner of the race" in measured.stderr


def test_without_a_race_there_is_nothing_tuned(invoke: Invoke) -> None:
    code, _, errors = invoke("run", "--tuned")
    assert code == 2
    assert "hold one with 'stepbench tune'" in errors


def heats(results: Path) -> int:
    """That the newest race has held so far."""
    (kept,) = results.glob("2*/tuned.json")
    return len(json.loads(kept.read_text())["heats"])


def test_a_killed_race_leaves_nothing_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    asked = [*ASKED, "--budget", "40s"]
    with faking.command("tune", *asked) as process:
        assert soon(lambda: bool(list(results.glob("2*/tuned.json"))) and heats(results) > 0, 30)
        assert soon(lambda: bool(workers_of(process.pid)), 5), "the next heat has begun"
        workers = workers_of(process.pid)
        process.kill()
        process.communicate()
    assert soon(lambda: all(ended(worker.pid) for worker in workers), 2)
    done = faking.run("tune", "--resume", "latest", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["finished"]
    assert found["winner"]["id"].endswith(f"env:{SPEED}=0.5")
