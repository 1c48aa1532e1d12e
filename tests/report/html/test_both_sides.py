from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_run
from documents import Document, faults
from paired import make_broken, make_gate, make_gate_case, noisy_pairs
from reports import make_full

from stepbench.judge.compare import compare_runs
from stepbench.judge.gate import judge_gate
from stepbench.records.cases import EAGER, GRAPH, XLA, Case
from stepbench.records.gate import Gate
from stepbench.records.machine import Cpu
from stepbench.records.store import Run
from stepbench.report.explain import explained, traced
from stepbench.report.html.compare import comparison_page
from stepbench.report.html.gate import gate_page

pytestmark = pytest.mark.usefixtures("undrawn")


def run_of(run_id: str, factor: float = 1.0, case: Case | None = None, **changes: Any) -> Run:
    eager, graph = make_full(make_case(EAGER), 0.01), make_full(case or make_case(GRAPH), 0.004 * factor, trained=True)
    return make_run(eager, graph, run_id=run_id, **changes)


def compared(old: Run, new: Run, *, anyway: bool = False) -> Document:
    """The page of a comparison, which has no fault."""
    html = comparison_page(old, new, compare_runs(old, new, 0.02, allow_different_machines=anyway))
    assert faults(html) == []
    return Document(html)


def gated(gate: Gate, *notes: str) -> Document:
    """The page of a gate, which has no fault."""
    html = gate_page(gate, judge_gate(gate), notes)
    assert faults(html) == []
    return Document(html)


def test_a_comparison_shows_both_sides_of_everything() -> None:
    document = compared(run_of("old"), run_of("new", 2.0))
    assert document.headings == [
        *("cases", "ratios", "step-times", "convergence", "work", "memory", "environment", "reproduce")
    ]
    assert "regression run new against run old, threshold 2.0% graph/float32 is slower" in document.text
    row = next(row for row in document.rows if row[0] == "graph/float32")
    assert row[1] == "regression"
    assert row[2].startswith("2.000")
    assert (row[3][:4], row[4][:4]) == ("4.00", "8.00")
    for side in ("graph/float32, old", "graph/float32, new"):
        assert side in [row[0] for row in document.rows]
    for side in ("Old: run old", "New: run new"):
        assert document.text.count(side) == 3


def test_a_comparison_explains_what_changed_from_the_traces() -> None:
    document = compared(run_of("old"), run_of("new", 2.0))
    assert "graph/float32 of old is 4.00 ms a step faster than graph/float32 of new" in document.text
    assert "of old, B is cnn/graph/float32/cpu/b64 of new; + where B takes longer" in document.text
    assert "A is " not in compared(run_of("old"), run_of("new")).text


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (run_of("new"), "No case is slower by the threshold"),
        (run_of("new", 0.5), "graph/float32 is faster, and none is slower"),
        (run_of("new", case=make_case(XLA)), "2 of 3 cases are missing on one side"),
    ],
    ids=["pass", "improved", "missing"],
)
def test_the_gravest_verdict_is_the_headline(new: Run, words: str) -> None:
    assert words in compared(run_of("old"), new).text


def test_different_machines_are_shown_and_not_judged() -> None:
    other = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU"))
    document = compared(run_of("old"), run_of("new", environment=other), anyway=True)
    assert "Different machines: ratios are shown, and nothing is judged" in document.text
    assert "CPU: Test CPU" in document.text
    assert "CPU Another CPU" not in document.text
    assert "model Another CPU" in document.text


def test_runs_in_which_everything_failed_can_be_compared() -> None:
    failed = make_run(make_failed(make_case()), run_id="failed")
    document = compared(failed, failed)
    assert document.headings == ["cases", "environment", "warnings", "reproduce"]
    assert "it failed in the old run: error: It broke." in document.text


def test_a_gate_shows_both_sides_the_commits_and_how_far_to_trust_it() -> None:
    gate = make_gate(make_gate_case(*noisy_pairs(0.1)), make_gate_case(*noisy_pairs(count=4), case=make_case(XLA)))
    document = gated(gate, "on this machine, gates are mostly right", "")
    assert document.headings == [*("cases", "ratios", "step-times", "commits", "environment", "notes", "reproduce")]
    assert "the working tree (bbbbbbbbbbbb, changed) against main" in document.text
    assert "Head is worse in graph/float32, head / base 1.101" in document.text
    row = next(row for row in document.rows if row[0] == "graph/float32")
    assert (row[1], row[4][:4], row[5][:4]) == ("regression", "10.0", "11.0")
    assert "1.00 s → 1.00 s" in row
    assert "100 MiB → 100 MiB" in row
    assert "bbbbbbb Make it slower" in document.text
    assert "on this machine, gates are mostly right" in document.text
    assert f"working tree: {'b' * 40}, with uncommitted changes" in document.text


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (make_gate(make_gate_case(*noisy_pairs(count=4))), "No slowdown of 2.0% or more"),
        (make_gate(make_gate_case(*noisy_pairs(-0.2))), "Head is faster in graph/float32"),
        (make_gate(make_broken()), "One side does not run in graph/float32"),
        (make_gate(make_gate_case()), "The budget was too short to tell for graph/float32"),
        (make_gate(make_gate_case(), make_gate_case(case=make_case(XLA))), "too short to tell for 2 of 2 cases"),
    ],
    ids=["pass", "improved", "broken", "interrupted", "several"],
)
def test_each_verdict_of_a_gate_is_a_sentence(gate: Gate, words: str) -> None:
    assert words in gated(gate).text


def test_a_gate_is_explained_where_there_are_traces() -> None:
    gate = make_gate(make_gate_case(*noisy_pairs(0.1)))
    old, new = run_of("base"), run_of("head", 2.0)
    why = explained(traced(old, old.measurements[1]), traced(new, new.measurements[1]))
    html = gate_page(gate, judge_gate(gate), (), {make_case().id: why})
    assert faults(html) == []
    assert "graph/float32 of base is 4.00 ms a step faster" in Document(html).text


def test_odd_names_are_shown_as_they_are_on_both_sides() -> None:
    cases = [make_case(name, workload=name) for name in (*ODD_NAMES, "x" * 500)]
    judged = make_gate(*(make_gate_case(*noisy_pairs(0.1), case=case) for case in cases), commits=ODD_NAMES)
    old, new = (make_run(*(make_measurement(case, [0.1]) for case in cases), run_id=name) for name in ("old", "new"))
    for document in (gated(judged), compared(old, new)):
        first = {row[0] for row in document.rows}
        assert {f"{name}/float32 of {name} on cpu" for name in (*ODD_NAMES, "x" * 500)} <= first
