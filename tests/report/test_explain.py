from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec
import pytest
from builders import make_case, make_operation, make_run, make_trace, make_traced
from hypothesis import given, settings
from hypothesis import strategies as st
from shown import assert_tells, printed, read

from stepbench.judge.statistics import step_time
from stepbench.records.cases import EAGER, GRAPH, XLA
from stepbench.records.run import Measurement
from stepbench.records.trace import GAP, HOST
from stepbench.report.explain import Explained, blocks, explained, headline, main_cause, traced

EAGER_CASE = make_traced(
    make_case(EAGER),
    make_operation(HOST, 0.030, "update", calls=0.0),
    make_operation("Conv2D", 0.020, "forward", calls=3.0),
    make_operation("Cast", 0.0001, "forward"),
)
GRAPH_CASE = make_traced(
    make_case(GRAPH),
    make_operation("_MklNativeFusedConv2D", 0.012, "forward", calls=3.0),
    make_operation("MaxPoolGrad", 0.005, "backward"),
    make_operation(HOST, 0.002, calls=0.0),
    make_operation(GAP, 0.001, "backward", calls=0.0),
)
EXPLAINED_TYPES = {
    "schema": int,
    "a": dict,
    "b": dict,
    "difference_s": float,
    "lines": list,
    "unexplained_s": float,
    "traced_difference_s": float,
    "doubts": list,
    "advice": list,
}
SIDE_KEYS = {"run_id", "id", "step_s", "step_time_s", "overhead", "calls"}
LINE_KEYS = {"part", "category", "a_s", "b_s", "difference_s", "a_calls", "b_calls", "mostly"}


def explain(a: Measurement, b: Measurement) -> Explained:
    run = make_run(a, b)
    return explained(traced(run, a), traced(run, b))


def test_the_unexplained_rest_adds_up_and_is_a_share_of_the_difference_whichever_way_it_goes() -> None:
    what = explain(EAGER_CASE, GRAPH_CASE)
    assert what.difference_s == pytest.approx(0.020 - 0.0501)
    assert what.unexplained_s == pytest.approx(0.001)
    assert sum(line.difference_s for line in what.lines) + what.unexplained_s == pytest.approx(what.difference_s)
    assert [(line.part, line.category, line.mostly) for line in what.lines] == [
        ("update", "host", HOST),
        ("forward", "convolution", "Conv2D"),
        ("backward", "pooling", "MaxPoolGrad"),
        ("", "host", HOST),
        ("forward", "cast and copy", "Cast"),
    ]
    for what in (explain(EAGER_CASE, GRAPH_CASE), explain(GRAPH_CASE, EAGER_CASE)):
        assert what.unexplained_share == pytest.approx(0.001 / 0.0301)
    assert explain(GRAPH_CASE, GRAPH_CASE).unexplained_share == 0


def test_two_sides_of_one_case_are_told_apart_by_their_revision_and_advice_is_about_the_slower() -> None:
    run = make_run(EAGER_CASE)
    slower = msgspec.structs.replace(
        EAGER_CASE, trace=make_trace(EAGER_CASE.case, make_operation(HOST, 0.080, "update", calls=0.0))
    )
    untimed = [msgspec.structs.replace(case, replicates=()) for case in (EAGER_CASE, slower)]
    base, head = (
        dataclasses.replace(traced(run, case), revision=name)
        for case, name in zip(untimed, ("base", "head"), strict=True)
    )
    for what in (explained(base, head), explained(head, base)):
        assert headline(what).startswith("eager/float32 of base is 29.9 ms a step faster than eager/float32 of head: ")
        (advice,) = what.advice
        assert "spends 100 % of the step in Python and dispatch" in advice
    parsed = msgspec.json.decode(msgspec.json.encode(explained(base, head)))
    assert [parsed[side]["revision"] for side in ("a", "b")] == ["base", "head"]


def test_the_sides_are_scaled_to_what_was_timed_if_anything_was() -> None:
    timed = make_traced(make_case(EAGER), blocks=[[0.5, 0.5], [0.5, 0.5]], step_s=0.03, untraced_step_s=0.02)
    what = explain(timed, GRAPH_CASE)
    assert (what.a.run_id, what.a.id, what.b.id) == ("20260102-030405-abcd", timed.case.id, GRAPH_CASE.case.id)
    assert what.a.step_s == pytest.approx(0.05)
    assert what.a.step_time_s == step_time(timed)
    assert what.a.overhead == pytest.approx(1.5)
    assert (what.a.calls, what.b.calls) == (1, 4)
    only_traced = [msgspec.structs.replace(case, replicates=()) for case in (EAGER_CASE, GRAPH_CASE)]
    what = explain(*only_traced)
    assert (what.a.step_time_s, what.b.step_time_s) == (None, None)
    assert (what.a.step_s, what.b.step_s) == pytest.approx((0.0501, 0.020))


def test_json_has_the_keys_of_the_contract() -> None:
    encoded = msgspec.json.encode(explain(EAGER_CASE, GRAPH_CASE))
    parsed: dict[str, Any] = msgspec.json.decode(encoded)
    assert set(parsed) == set(EXPLAINED_TYPES)
    for key, kind in EXPLAINED_TYPES.items():
        assert isinstance(parsed[key], kind), key
    assert parsed["schema"] == 1
    assert [set(parsed[side]) for side in ("a", "b")] == [SIDE_KEYS, SIDE_KEYS]
    assert [set(line) for line in parsed["lines"]] == [LINE_KEYS] * 5
    assert msgspec.json.decode(encoded, type=Explained) == explain(EAGER_CASE, GRAPH_CASE)


def test_the_headline_names_the_faster_by_how_much_and_what_for() -> None:
    expected = (
        "graph/float32 is 30.1 ms a step faster than eager/float32: 20.0 against 50.1 ms, "
        "mainly for host in update (30.0 ms)"
    )
    assert headline(explain(EAGER_CASE, GRAPH_CASE)) == expected
    assert headline(explain(GRAPH_CASE, EAGER_CASE)) == expected


def test_the_main_cause_is_the_largest_that_goes_the_way_of_the_difference() -> None:
    slower = make_traced(
        make_case(XLA),
        make_operation("_MklNativeFusedConv2D", 0.001, "forward"),
        make_operation("MaxPoolGrad", 0.013, "backward"),
        make_operation(HOST, 0.008),
    )
    # The convolution makes it faster by 11 ms, all in all it is slower by 2.
    assert main_cause(explain(GRAPH_CASE, slower)) == "pooling in backward (8.00 ms)"
    assert main_cause(explain(slower, GRAPH_CASE)) == "pooling in backward (8.00 ms)"


def test_where_nothing_goes_the_way_of_the_difference_no_cause_is_named() -> None:
    one = make_traced(make_case(GRAPH), make_operation("Conv2D", 0.010, "forward"))
    other = make_traced(make_case(XLA), make_operation("Conv2D", 0.010, "forward"), make_operation(GAP, 0.002))
    what = explain(one, other)
    assert main_cause(what) == ""
    assert what.unexplained_s == pytest.approx(0.002)
    assert headline(what) == "graph/float32 is 2.00 ms a step faster than xla/float32: 10.0 against 12.0 ms"


def test_the_headline_tells_cases_apart_by_whatever_sets_them_apart_and_names_two_runs() -> None:
    several = make_traced(make_case(GRAPH, steps_per_call=8), make_operation("Conv2D", 0.001))
    assert headline(explain(GRAPH_CASE, several)).startswith("graph/float32/k8 is 19.0 ms a step faster than graph/fl")
    smaller = make_traced(make_case(GRAPH, batch_size=8), make_operation("Conv2D", 0.001))
    assert "graph/float32/b8 is 19.0 ms a step faster than graph/float32/b64:" in headline(explain(GRAPH_CASE, smaller))
    mine, theirs = make_run(GRAPH_CASE), make_run(EAGER_CASE, run_id="20250101-000000-0000")
    text = headline(explained(traced(mine, GRAPH_CASE), traced(theirs, EAGER_CASE)))
    assert text.startswith(
        "graph/float32 of 20260102-030405-abcd is 30.1 ms a step faster than eager/float32 of 20250101-000000-0000:"
    )


def timed(execution: str, timed_s: float, untraced_s: float, traced_s: float, spread: float = 0.0) -> Measurement:
    """A case whose traced process ran at a pace of its own; three replicates apart by ``spread``."""
    replicates = [[10 * timed_s * factor] for factor in (1 - spread, 1 + spread, 1)]
    operation = make_operation("Conv2D", traced_s)
    return make_traced(make_case(execution), operation, blocks=replicates, untraced_step_s=untraced_s)


def test_of_a_timing_that_has_no_interval_no_doubt_is_raised() -> None:
    a, b = timed(EAGER, 0.050, 0.050, 0.050), timed(GRAPH, 0.020, 0.045, 0.045)
    assert explain(a, b).doubts
    few = msgspec.structs.replace(b, replicates=b.replicates[:2])
    assert explain(a, few).doubts == ()


@pytest.mark.parametrize(
    ("a", "b", "doubts"),
    [
        (timed(EAGER, 0.050, 0.050, 0.051), timed(GRAPH, 0.020, 0.020, 0.021), ()),
        (timed(EAGER, 0.050, 0.052, 0.0525), timed(GRAPH, 0.020, 0.022, 0.0221), ()),
        (timed(EAGER, 0.050, 0.052, 0.055), timed(GRAPH, 0.020, 0.020, 0.020), ("-35.0 ms, not by -30.0 ms",)),
        (timed(EAGER, 0.050, 0.050, 0.050), timed(GRAPH, 0.020, 0.045, 0.045), ("-5.00 ms, not by -30.0 ms",)),
        (timed(EAGER, 0.050, 0.050, 0.050), timed(GRAPH, 0.020, 0.045, 0.045, 0.6), ()),
        (timed(EAGER, 0.050, 0.025, 0.050), timed(GRAPH, 0.020, 0.045, 0.045), ()),
    ],
    ids=["as timed", "both a little slower", "one slower", "other slower", "noisy", "costly to trace"],
)
def test_traces_are_doubted_where_they_tell_another_story_than_the_timing(
    a: Measurement, b: Measurement, doubts: tuple[str, ...]
) -> None:
    assert explain(a, b).doubts == tuple(
        f"the traces differ by {words}, beyond what tracing costs: trace again" for words in doubts
    )


seconds = st.floats(1e-4, 1)


@settings(deadline=None)
@given(seconds, seconds, st.floats(0.3, 3), st.floats(0.3, 3))
def test_what_was_only_traced_is_never_doubted(a_s: float, b_s: float, a_overhead: float, b_overhead: float) -> None:
    cases = [
        make_traced(make_case(execution), make_operation("Conv2D", step_s), untraced_step_s=step_s / overhead)
        for execution, step_s, overhead in ((EAGER, a_s, a_overhead), (GRAPH, b_s, b_overhead))
    ]
    assert explain(*(msgspec.structs.replace(case, replicates=()) for case in cases)).doubts == ()


@settings(deadline=None)
@given(st.tuples(seconds, seconds, seconds), st.tuples(seconds, seconds, seconds))
def test_a_doubt_is_a_difference_beyond_what_tracing_costs(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> None:
    what = explain(timed(EAGER, *a), timed(GRAPH, *b))
    off = abs((b[2] - a[2]) - (b[0] - a[0]))
    cost = sum(timed_s * abs(traced_s / untraced_s - 1) for timed_s, untraced_s, traced_s in (a, b))
    assert bool(what.doubts) == (off > cost) or off == pytest.approx(cost)


A = make_traced(
    make_case(EAGER),
    make_operation(HOST, 0.030, "update", calls=0.0),
    make_operation("Conv2D", 0.020, "forward", calls=3.0),
    make_operation("Cast", 0.00015, "forward"),
    make_operation("Relu", 0.00015, "forward"),
)
B = make_traced(
    make_case(GRAPH),
    make_operation("_MklNativeFusedConv2D", 0.012, "forward", calls=3.0),
    make_operation("MatMul", 0.007),
    make_operation(GAP, 0.001, "backward", calls=0.0),
)
ROWS = [
    ["-30.0", "host", "update", "30.0", "0", "", ""],
    ["-8.00", "convolution", "forward", "20.0", "12.0", "3 → 3", "Conv2D"],
    ["+7.00", "matrix product", "outside", "0", "7.00", "0 → 1", "MatMul"],
    ["-0.300", "2 smaller ones", "", "0.300", "0", "", ""],
    ["+1.00", "unexplained (3 %)", "", "", "", "", ""],
    ["-30.3", "in all", "", "50.3", "20.0", "5 → 4", ""],
]


def test_all_is_shown_the_headline_what_a_and_b_are_a_row_each_and_advice() -> None:
    what = explain(A, B)
    first, legend, heads, *lines = printed([blocks(what)]).splitlines()
    assert first == headline(what)
    assert legend == f"A is {A.case.id}, B is {B.case.id}; + where B takes longer."
    assert heads.split() == ["ms", "a", "step", "work", "part", "A", "B", "operations", "mostly"]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines[: len(ROWS)]]
    assert cells == [[cell for cell in row if cell] for row in ROWS]
    assert lines[len(ROWS) :] == [f"- {advice}" for advice in what.advice]
    assert len(what.advice) == 2
    page = read([blocks(what)])
    assert page.rows[1:] == ROWS
    assert_tells([blocks(what)], first, legend, *what.advice)


def test_a_doubt_is_printed_before_advice() -> None:
    what = explain(A, make_traced(make_case(GRAPH), blocks=[[0.001]] * 3, untraced_step_s=0.01))
    (doubt,) = what.doubts
    text = printed([blocks(what)])
    assert text.index(doubt) < text.index(what.advice[0])


def test_a_difference_of_nothing_is_shown() -> None:
    what = explain(B, make_traced(make_case(EAGER), *(B.trace.operations if B.trace else ())))
    text = printed([blocks(what)])
    assert "graph/float32 is 0 ms a step faster than eager/float32: 20.0 against 20.0 ms" in text
    assert "unexplained (0 %)" in text
    assert "smaller ones" not in text
