"""``pytest --stepbench-gate`` over gates that were measured already; the recipe's test has it measure one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

import pytest
from builders import make_case, make_plan
from paired import make_broken, make_gate, make_gate_case, make_traced_gate_case, noisy_pairs
from repositories import commit, git

from stepbench.commands import gate as gating
from stepbench.commands import plan as planning
from stepbench.commands.request import Request
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.records.cases import Case
from stepbench.records.gate import Gate, GateCase, GateSettings

pytest_plugins = ["pytester"]

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
CASES: dict[str, Callable[[Case], GateCase]] = {
    "graph": lambda case: make_traced_gate_case(case=case),
    "eager": lambda case: make_gate_case(*noisy_pairs(count=4), case=case),
    "xla": lambda case: make_gate_case(*noisy_pairs(count=1), case=case),
    "keras": lambda case: make_broken(message="planted", case=case),
}


@dataclass
class Gated:
    """A repository with benchmarks, and sessions of pytest in it, in this process; the gates asked for."""

    pytester: pytest.Pytester
    asked: list[gating.GateRequest] = field(default_factory=list)
    planted: StepbenchError | None = None

    def run(self, *options: str) -> Finished:
        found = self.pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "--stepbench-gate=HEAD", *options)
        return Finished(int(found.ret), found.stdout.str(), found.stderr.str())

    def plan(self, request: Request) -> planning.Planned:
        cases = [make_case(execution) for execution in request.executions]
        return planning.Planned(make_plan(cases), "synthetic")

    def gate(self, request: gating.GateRequest, *_: object) -> Gate:
        self.asked.append(request)
        if self.planted:
            raise self.planted
        cases = [make_case(name.split("/")[1]) for name in request.request.only]
        return make_gate(*(CASES[case.variant.execution](case) for case in cases), settings=request.settings)


@dataclass(frozen=True)
class Finished:
    """A session of pytest."""

    code: int
    output: str
    errors: str


@pytest.fixture
def gated(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Gated:
    """Gates that were measured already."""
    git(pytester.path, "init", "--quiet", "--initial-branch=main", "--template=")
    commit(pytester.path, "Begin", test_bench=BENCHMARK)
    made = Gated(pytester)
    monkeypatch.setattr(planning, "make_plan", made.plan)
    monkeypatch.setattr(gating, "run_gate", made.gate)
    monkeypatch.setenv("COLUMNS", "160")
    return made


def case_id(execution: str) -> str:
    return f"cnn/{execution}/float32/cpu/b64"


def test_all_cases_of_a_marker_are_one_gate_of_the_working_tree_and_each_verdict_a_tests_outcome(gated: Gated) -> None:
    more = ("--stepbench-threshold=3%", "--stepbench-budget=5m", "--stepbench-results=elsewhere")
    finished = gated.run(*more, "--junitxml=gate.xml")
    assert finished.code == 1, finished.output
    assert "4 failed, 3 passed, 2 skipped, 4 deselected" in finished.output
    cases = {case.get("name", ""): case for case in ET.parse("gate.xml").iter("testcase")}  # noqa: S314
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
    assert "the body was run" not in finished.output
    assert "not used at all" not in finished.output
    (gate,) = gated.asked
    assert (gate.base, gate.head, gate.repository) == ("HEAD", None, gated.pytester.path)
    assert gate.request.only == tuple(case_id(execution) for execution in ("eager", "graph", "xla", "keras"))
    assert (gate.budget_s, gate.settings) == (300, GateSettings(threshold=0.03))
    assert (gate.request.data, gate.request.verification, gate.request.tracing) == ("synthetic", None, None)
    _, _, summary = finished.output.partition(" stepbench ")
    assert "BROKEN: the working tree (bbbbbbbbbbbb, changed) against main (aaaaaaaaaaaa), threshold 3.0%" in summary
    for execution, verdict in {
        "graph": "regression",
        "eager": "pass",
        "xla": "inconclusive",
        "keras": "broken",
    }.items():
        assert any(line.split()[:2] == [case_id(execution), verdict] for line in summary.splitlines())
    assert "The gate is in elsewhere/20260102-030405-abcd" in summary


def test_only_what_is_selected_is_gated(gated: Gated) -> None:
    finished = gated.run("-k", "eager")
    assert finished.code == 0, finished.output
    assert [gate.request.only for gate in gated.asked] == [(case_id("eager"),)]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--stepbench-gate=nope", "There is no revision 'nope'"),
        ("--stepbench-threshold=much", "--stepbench-threshold takes a share such as 2%, not 'much'"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence_before_anything_is_measured(
    gated: Gated, option: str, words: str
) -> None:
    finished = gated.run(option)
    assert finished.code == pytest.ExitCode.INTERRUPTED
    assert words in finished.output + finished.errors
    assert "Traceback" not in finished.output + finished.errors
    assert gated.asked == []


def test_a_gate_that_cannot_be_fails_its_tests_in_one_sentence_and_is_not_tried_again(gated: Gated) -> None:
    gated.planted = StepbenchError("It was planted.")
    finished = gated.run()
    assert finished.code == 1
    assert "8 failed, 1 passed" in finished.output
    assert finished.output.count("stepbench: It was planted.") >= 4
    assert "Traceback" not in finished.output
    assert len(gated.asked) == 1


def test_an_interrupted_gate_ends_the_session(gated: Gated) -> None:
    gated.planted = InterruptedRunError("It was planted.")
    finished = gated.run()
    assert finished.code == 130
    assert "It was planted." in finished.output + finished.errors
    assert len(gated.asked) == 1
