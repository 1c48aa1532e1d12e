"""``pytest --stepbench-gate`` over gates that were measured already; the recipe's test has it measure one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import places
import pytest
from pytests import run_pytest
from repositories import commit, make_repository

from stepbench.records.gate import GateSettings

BENCHMARK = """
import pytest

pytestmark = pytest.mark.stepbench(execution="eager,graph,xla,keras", precision="float32")


def test_training_step(measured_step):
    raise AssertionError("the body was run")


def test_convergence(verified_step):
    raise AssertionError("the body was run")


def test_both(measured_step, verified_step):
    raise AssertionError("the body was run")


def test_something_else():
    pass
"""
CONFTEST = f"""
import json
import os
import sys
from dataclasses import asdict

import msgspec

sys.path.insert(0, {str(places.TESTS)!r})

import builders
import paired
from stepbench.commands import gate as gating, plan as planning
from stepbench import errors

CASES = {{
    "graph": lambda case: paired.make_traced_gate_case(case=case),
    "eager": lambda case: paired.make_gate_case(*paired.noisy_pairs(count=4), case=case),
    "xla": lambda case: paired.make_gate_case(*paired.noisy_pairs(count=1), case=case),
    "keras": lambda case: paired.make_broken(message="planted", case=case),
}}


def make_plan(request):
    cases = [builders.make_case(execution) for execution in request.executions]
    return planning.Planned(builders.make_plan(cases), "synthetic")


def run_gate(asked, store, report):
    with open("asked.jsonl", "ab") as file:
        file.write(msgspec.json.encode(asdict(asked), enc_hook=str) + b"\\n")
    if planted := os.environ.get("PLANTED"):
        raise getattr(errors, planted)("It was planted.")
    cases = [builders.make_case(name.split("/")[1]) for name in asked.request.only]
    return paired.make_gate(*(CASES[case.variant.execution](case) for case in cases), settings=asked.settings)


planning.make_plan, gating.run_gate = make_plan, run_gate
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = make_repository(tmp_path / "repository")
    commit(made, "Begin", test_bench=BENCHMARK, conftest=CONFTEST)
    return made


def asked(repository: Path) -> list[dict[str, object]]:
    """What gates were asked for."""
    file = repository / "asked.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def case_id(execution: str) -> str:
    return f"cnn/{execution}/float32/cpu/b64"


def test_each_verdict_is_a_tests_outcome_and_the_xml_has_the_gates_words(repository: Path) -> None:
    finished = run_pytest(
        repository,
        *("--stepbench-gate=HEAD", "--stepbench-threshold=3%", "--stepbench-budget=5m", "--junitxml=gate.xml"),
    )
    assert finished.returncode == 1, finished.stdout
    assert "4 failed, 3 passed, 2 skipped, 4 deselected" in finished.stdout
    cases = {case.get("name", ""): case for case in ET.parse(repository / "gate.xml").iter("testcase")}  # noqa: S314
    assert set(cases) == {
        "test_something_else",
        *(
            f"test_{test}[{case_id(execution)}]"
            for test in ("training_step", "both")
            for execution in ("eager", "graph", "xla", "keras")
        ),
    }
    outcomes = {}
    for execution in ("eager", "graph", "xla", "keras"):
        found = list(cases[f"test_training_step[{case_id(execution)}]"])
        outcomes[execution] = [(part.tag, f"{part.get('message')}{part.text}") for part in found]
    assert outcomes["eager"] == []
    ((tag, slower),) = outcomes["graph"]
    assert tag == "failure"
    assert "regression: head / base 1.101 [1.095, 1.107], threshold 3.0%" in slower
    assert "between them: bbbbbbb Make it slower" in slower
    assert "mainly for matrix product in backward" in slower
    ((tag, undecided),) = outcomes["xla"]
    assert tag == "skipped"
    assert "1 pair is too few to judge: raise --budget" in undecided
    ((tag, broken),) = outcomes["keras"]
    assert tag == "failure"
    assert "head fails: error: planted" in broken
    assert "the body was run" not in finished.stdout
    assert "not used at all" not in finished.stdout


def test_all_cases_of_a_marker_are_one_gate_of_the_working_tree_whose_table_is_shown(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    finished = run_pytest(repository, "--stepbench-gate=HEAD", "--stepbench-budget=5m", "--stepbench-results=elsewhere")
    (gate,) = asked(repository)
    assert (gate["base"], gate["head"], gate["repository"]) == ("HEAD", None, str(repository))
    assert (gate["budget_s"], gate["settings"]) == (300, msgspec.structs.asdict(GateSettings()))
    request = gate["request"]
    assert isinstance(request, dict)
    assert request["only"] == [case_id(execution) for execution in ("eager", "graph", "xla", "keras")]
    assert (request["data"], request["verification"], request["tracing"]) == ("synthetic", None, None)
    _, _, summary = finished.stdout.partition(" stepbench ")
    assert "BROKEN: the working tree (bbbbbbbbbbbb, changed) against main (aaaaaaaaaaaa), threshold 2.0%" in summary
    for execution, verdict in {
        "graph": "regression",
        "eager": "pass",
        "xla": "inconclusive",
        "keras": "broken",
    }.items():
        assert any(line.split()[:2] == [case_id(execution), verdict] for line in summary.splitlines())
    assert "The gate is in elsewhere/20260102-030405-abcd" in summary


def test_only_what_is_selected_is_gated(repository: Path) -> None:
    finished = run_pytest(repository, "--stepbench-gate=HEAD", "-k", "eager")
    assert finished.returncode == 0, finished.stdout
    (gate,) = asked(repository)
    assert isinstance(gate["request"], dict)
    assert gate["request"]["only"] == [case_id("eager")]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--stepbench-gate=nope", "There is no revision 'nope'"),
        ("--stepbench-threshold=much", "--stepbench-threshold takes a share such as 2%, not 'much'"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence_before_anything_is_measured(
    repository: Path, option: str, words: str
) -> None:
    finished = run_pytest(repository, "--stepbench-gate=HEAD", option)
    assert finished.returncode == pytest.ExitCode.INTERRUPTED
    assert words in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    assert asked(repository) == []


def planted(repository: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("PLANTED", error)
    return run_pytest(repository, "--stepbench-gate=HEAD")


def test_a_gate_that_cannot_be_fails_its_tests_in_one_sentence_and_is_not_tried_again(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = planted(repository, monkeypatch, "StepbenchError")
    assert finished.returncode == 1
    assert "8 failed, 1 passed" in finished.stdout
    assert finished.stdout.count("stepbench: It was planted.") >= 4
    assert "Traceback" not in finished.stdout
    assert len(asked(repository)) == 1


def test_an_interrupted_gate_ends_the_session(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = planted(repository, monkeypatch, "InterruptedRunError")
    assert finished.returncode == 130
    assert "It was planted." in finished.stdout
    assert len(asked(repository)) == 1
