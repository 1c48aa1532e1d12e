from __future__ import annotations

import msgspec
import pytest
from builders import make_case
from paired import (
    HEAD,
    STEP_S,
    make_broken,
    make_gate,
    make_gate_case,
    make_pairs,
    make_quads,
    make_traced_gate_case,
    noisy_pairs,
)
from shown import printed, read

from stepbench.judge.gate import GateJudgement, judge_gate
from stepbench.records.gate import Disturbance, Gate, Pair, Quad, Revision, SideName
from stepbench.report.blocks import Chapters
from stepbench.report.gate import GateReport, case_text, chapters, headline, report

SLOWER = make_gate_case(*noisy_pairs(0.1))
SAME = make_gate_case(*noisy_pairs(count=4))


def shown(gate: Gate) -> Chapters:
    return chapters(gate, judge_gate(gate))


def terminal(gate: Gate) -> str:
    return printed(shown(gate))


def headed(gate: Gate) -> str:
    return headline(gate, judge_gate(gate))


def test_a_regression_names_both_sides_the_ratio_and_the_commits_between() -> None:
    first, _, row, *notes = terminal(make_gate(SLOWER)).splitlines()
    assert first == "REGRESSION: the working tree (bbbbbbbbbbbb, changed) against main (aaaaaaaaaaaa), threshold 2.0%"
    assert row.split() == [make_case().id, "regression", "1.101", "[1.095,", "1.107]", *row.split()[5:]]
    assert row.split()[-3:] == ["5", "60.0", "s"]
    assert notes == ["- between them: bbbbbbb Make it slower", "- between them: ccccccc Tidy up"]


def test_a_gate_says_when_the_machine_was_busy_and_how_much_of_the_time() -> None:
    pairs = list(noisy_pairs(count=4))
    assert "busy" not in terminal(make_gate(make_gate_case(*(with_load(pair, others=0.1) for pair in pairs))))
    pairs[1:3] = (with_load(pair, others=0.8, stolen=0.3) for pair in pairs[1:3])
    pairs[0], pairs[3] = with_load(pairs[0]), with_load(pairs[3])
    notes = terminal(make_gate(make_gate_case(*pairs))).splitlines()[-2:]
    assert notes == [
        "- the machine was busy: other processes used 0.8 cores while 2 of 4 pairs were measured",
        "- the machine was busy: the hypervisor took 0.3 cores while 2 of 4 pairs were measured",
    ]


def with_load(pair: Pair, others: float = 0.0, stolen: float = 0.0) -> Pair:
    return msgspec.structs.replace(pair, load=Disturbance(others, stolen))


def test_a_pass_blames_no_commit_and_what_else_is_to_be_noted_comes_last() -> None:
    text = terminal(make_gate(SAME))
    assert text.startswith("PASS: ")
    assert "between them" not in text
    gate = make_gate(SAME)
    assert printed(chapters(gate, judge_gate(gate), ("a note",))).endswith("\n- a note\n")


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        (HEAD, "the working tree (bbbbbbbbbbbb, changed)"),
        (msgspec.structs.replace(HEAD, dirty=False), "the working tree (bbbbbbbbbbbb)"),
        (Revision("v1", "b" * 40), "v1 (bbbbbbbbbbbb)"),
        (Revision("bbbbb", "b" * 40), "bbbbbbbbbbbb"),
    ],
)
def test_a_revision_is_called_what_the_user_called_it_and_its_commit(revision: Revision, words: str) -> None:
    assert headed(make_gate(SAME, head=revision)) == f"PASS: {words} against main (aaaaaaaaaaaa), threshold 2.0%"


def test_a_broken_side_is_named_with_its_reason_and_the_commits() -> None:
    gate = make_gate(make_broken(SideName.HEAD, "planted | \x1b[2J\nhere"), make_gate_case(case=make_case("eager")))
    text = terminal(gate)
    assert text.startswith("BROKEN: ")
    assert f"- {make_case().id}: head fails: error: planted | [2J here" in text
    assert f"- {make_case('eager').id}: 0 pairs are too few to judge: raise --budget" in text
    assert "- between them: bbbbbbb Make it slower" in text
    page = read(shown(gate))
    assert page.rows[1] == [make_case().id, "broken", "–", "–", "0", "0 µs"]
    assert "head fails: error: planted | [2J here" in page.text


def test_the_json_is_read_back_as_it_was() -> None:
    judgement = judge_gate(make_gate(SLOWER, make_broken(case=make_case("eager"))))
    encoded = msgspec.json.encode(judgement)
    assert msgspec.json.decode(encoded, type=GateJudgement) == judgement
    plain = msgspec.json.decode(encoded)
    assert set(plain) == {"schema", "verdict", "threshold", "cases"}
    fields = {"id", "verdict", "ratio", "smallest_detectable", "pairs", "seconds", "why"}
    assert [set(case) for case in plain["cases"]] == [fields, fields]


EXPLAINED = make_gate(make_traced_gate_case(), make_gate_case(*noisy_pairs(count=4), case=make_case("eager")))
HEADLINE = "graph/float32 of base is 1.01 ms a step faster than graph/float32 of head: 10.0 against 11.0 ms"


def test_a_slower_case_is_explained_by_its_traces_at_the_measured_times() -> None:
    lines = terminal(EXPLAINED).partition("\n\n")[2].splitlines()
    assert lines[0].startswith(f"{HEADLINE}, mainly for matrix product in backward")
    assert lines[1].startswith(f"A is {make_case().id} of base, B is {make_case().id} of head;")
    assert "MatMul" in lines[3]
    page = read(shown(EXPLAINED))
    assert [len(table) for table in page.tables] == [3, 5]
    assert HEADLINE in page.text


def test_the_json_has_the_explanation_of_each_slower_case_and_null_else() -> None:
    encoded = msgspec.json.encode(report(EXPLAINED, judge_gate(EXPLAINED)))
    plain = msgspec.json.decode(encoded)
    assert set(plain) == {"schema", "verdict", "threshold", "cases"}
    slower, same = plain["cases"]
    assert set(slower) == {"id", "verdict", "ratio", "smallest_detectable", "pairs", "seconds", "why", "explanation"}
    assert (slower["explanation"]["lines"][0]["mostly"], same["explanation"]) == ("MatMul", None)
    assert slower["explanation"]["a"]["run_id"] == EXPLAINED.gate_id
    assert msgspec.json.decode(encoded, type=GateReport) == report(EXPLAINED, judge_gate(EXPLAINED))
    without = msgspec.json.decode(msgspec.json.encode(judge_gate(EXPLAINED)))
    for case in plain["cases"]:
        del case["explanation"]
    assert plain == without


def test_a_failure_to_trace_is_one_sentence_beside_the_verdict() -> None:
    untraced = make_gate_case(*noisy_pairs(0.1), untraced="head could not be traced: error: It broke.\nTwice")
    gate = make_gate(untraced)
    said = f"{make_case().id}: it is not explained, as head could not be traced: error: It broke. Twice"
    assert terminal(gate).startswith("REGRESSION: ")
    assert f"- {said}\n" in terminal(gate)
    assert said in read(shown(gate)).text
    assert "A is " not in terminal(gate)


def test_where_only_rare_steps_are_slower_the_explanation_is_doubted() -> None:
    rare = Quad((STEP_S, STEP_S), (50 * STEP_S, 50 * STEP_S))
    pairs = make_pairs(*(0.0,) * 5, quads=(*make_quads(count=23), rare))
    gate = make_gate(msgspec.structs.replace(make_traced_gate_case(), pairs=pairs))
    assert judge_gate(gate).verdict == "regression"
    assert "the usual step is not slower by the threshold" in terminal(gate)
    assert "the usual step" not in terminal(EXPLAINED)


def test_the_text_of_one_case_has_its_own_reasons_the_commits_and_its_explanation() -> None:
    gate = make_gate(*EXPLAINED.cases, make_broken(message="planted", case=make_case("xla")))
    judgement = judge_gate(gate)
    slower, same, broken = (case_text(gate, case.case.id, judgement) for case in gate.cases)
    assert slower.startswith("regression: head / base 1.101 [1.095, 1.107], threshold 2.0%\n")
    assert "- between them: bbbbbbb Make it slower" in slower
    assert HEADLINE in slower
    assert "planted" not in slower
    assert same == "pass: head / base 1.000 [0.992, 1.007], threshold 2.0%"
    assert broken.splitlines()[0] == "broken: head / base –, threshold 2.0%"
    assert f"- {make_case('xla').id}: head fails: error: planted" in broken
