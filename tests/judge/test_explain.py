from __future__ import annotations

import pytest
from builders import make_case, make_operation, make_trace
from hypothesis import given
from hypothesis import strategies as st

from stepbench.judge.breakdown import Breakdown, Category, break_down
from stepbench.judge.explain import explain
from stepbench.records.trace import GAP, HOST, PARTS, Operation


def broken_down(*operations: Operation, step_s: float | None = None, overhead: float = 1.0) -> Breakdown:
    traced_s = sum(operation.seconds for operation in operations)
    return break_down(make_trace(make_case(), *operations, untraced_step_s=traced_s / overhead), step_s)


A = broken_down(
    make_operation("Conv2D", 0.010, "forward", calls=3.0),
    make_operation("_MklNativeFusedConv2D", 0.002, "forward"),
    make_operation(GAP, 0.001, "forward"),
    make_operation("Cast", 0.004, "forward"),
)
B = broken_down(
    make_operation("_MklNativeFusedConv2D", 0.005, "forward", calls=3.0),
    make_operation("Conv2DBackpropInput", 0.001, "forward"),
    make_operation(GAP, 0.003, "backward"),
    make_operation(HOST, 0.020, "update", calls=0.0),
)


def test_contributions_are_positive_where_b_takes_longer_and_the_largest_come_first() -> None:
    explanation = explain(A, B)
    assert [(found.part, found.category, found.a_s, found.b_s) for found in explanation.contributions] == [
        ("update", Category.HOST, 0.0, pytest.approx(0.020)),
        ("forward", Category.CONVOLUTION, pytest.approx(0.012), pytest.approx(0.006)),
        ("forward", Category.CAST_AND_COPY, pytest.approx(0.004), 0.0),
    ]
    assert [found.difference_s for found in explanation.contributions] == pytest.approx([0.020, -0.006, -0.004])
    assert [(found.a_calls, found.b_calls) for found in explanation.contributions] == [(0, 0), (4, 4), (1, 0)]
    assert explanation.difference_s == pytest.approx(0.012)


def test_what_gaps_differ_by_is_unexplained_whatever_parts_they_are_in() -> None:
    explanation = explain(A, B)
    assert explanation.unexplained_s == pytest.approx(0.003 - 0.001)
    assert Category.GAP not in {found.category for found in explanation.contributions}


def test_mostly_names_the_type_that_most_of_it_is_due_to_as_rewriting_left_it() -> None:
    mostly = {(found.part, found.category): found.mostly for found in explain(A, B).contributions}
    # Conv2D went from 12 ms, 2 of them fused, to 5 ms, all fused.
    assert mostly == {
        ("forward", Category.CONVOLUTION): "Conv2D",
        ("forward", Category.CAST_AND_COPY): "Cast",
        ("update", Category.HOST): HOST,
    }


def test_mostly_goes_by_the_difference_and_not_by_the_time_nor_by_what_was_only_rewritten() -> None:
    one = broken_down(make_operation("Conv2D", 0.005))
    other = broken_down(make_operation("_MklNativeFusedConv2D", 0.005), make_operation("Conv2DBackpropInput", 0.001))
    (found,) = explain(one, other).contributions
    assert found.mostly == "Conv2DBackpropInput"
    one = broken_down(make_operation("Relu", 0.1), make_operation("Mul", 0.001))
    other = broken_down(make_operation("Relu", 0.1), make_operation("Mul", 0.005))
    (found,) = explain(one, other).contributions
    assert found.mostly == "Mul"


def test_the_traced_difference_is_that_of_the_traces_alone() -> None:
    one = broken_down(make_operation("Conv2D", 0.030), step_s=0.010, overhead=1.5)
    other = broken_down(make_operation("Conv2D", 0.080), step_s=0.011, overhead=1.25)
    explanation = explain(one, other)
    assert explanation.difference_s == pytest.approx(0.001)
    assert explanation.traced_difference_s == pytest.approx(0.050)


operations = st.builds(
    make_operation,
    kind=st.sampled_from(["Conv2D", "_FusedConv2D", "MatMul", "Relu", "Cast", GAP, HOST, "SyncDevice"]),
    seconds=st.floats(1e-6, 1),
    part=st.sampled_from((*PARTS, "")),
)
breakdowns = st.builds(
    lambda ran, step_s, overhead: broken_down(*ran, step_s=step_s, overhead=overhead),
    st.lists(operations, min_size=1, max_size=15),
    st.none() | st.floats(1e-3, 1),
    st.floats(0.5, 3),
)


@given(breakdowns, breakdowns)
def test_contributions_and_the_unexplained_rest_add_up_to_the_difference(a: Breakdown, b: Breakdown) -> None:
    explanation = explain(a, b)
    rounding = 1e-12 * (a.step_s + b.step_s)
    accounted = sum(found.difference_s for found in explanation.contributions) + explanation.unexplained_s
    assert accounted == pytest.approx(explanation.difference_s, rel=0, abs=rounding)
    assert explanation.difference_s == b.step_s - a.step_s
    for side, name in ((a, "a_s"), (b, "b_s")):
        outside_gaps = side.step_s * (1 - side.share(Category.GAP))
        total = sum(getattr(found, name) for found in explanation.contributions)
        assert total == pytest.approx(outside_gaps, rel=0, abs=rounding)
    sizes = [abs(found.difference_s) for found in explanation.contributions]
    assert sizes == sorted(sizes, reverse=True)
