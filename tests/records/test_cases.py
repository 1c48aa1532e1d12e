from __future__ import annotations

from typing import Any

import pytest
from builders import ODD_NAMES, make_case, make_plan
from hypothesis import given
from hypothesis import strategies as st

from stepbench.errors import StepbenchError
from stepbench.records.cases import (
    DEFAULT_EXECUTIONS,
    EAGER,
    FEWEST_CALLS,
    GRAPH,
    MAX_NAME_LENGTH,
    XLA,
    Case,
    Device,
    Precision,
    Selection,
    Tracing,
    Variant,
    Verification,
    check_name,
)

REFUSED_NAMES = ("", "a/b", "/", "a,b", "a\nb", "a\tb", "\x1b[31m", "\0", "a\u202eb", "x" * (MAX_NAME_LENGTH + 1))


def test_case_id_is_the_published_one_with_steps_per_call_only_above_one() -> None:
    case = Case("cifar-cnn", Variant("graph", Precision.MIXED_BFLOAT16), Device.CPU, 64)
    assert case.id == str(case) == "cifar-cnn/graph/mixed_bfloat16/cpu/b64"
    assert make_case(XLA, device=Device.GPU, steps_per_call=8).id == "cnn/xla/float32/gpu/b64/k8"
    assert make_case(XLA, steps_per_call=1).id == "cnn/xla/float32/cpu/b64"


@given(
    workload=st.sampled_from(ODD_NAMES),
    execution=st.sampled_from([*ODD_NAMES, *DEFAULT_EXECUTIONS]),
    precision=st.sampled_from(Precision),
    device=st.sampled_from(Device),
    batch_size=st.integers(1, 10_000),
)
def test_case_id_tells_every_part(
    workload: str, execution: str, precision: Precision, device: Device, batch_size: int
) -> None:
    case = Case(workload, Variant(execution, precision), device, batch_size)
    assert case.id.split("/") == [workload, execution, precision.value, device.value, f"b{batch_size}"]


def test_reference_is_eager_float32_of_the_same_workload_device_and_batch_size() -> None:
    case = make_case(XLA, "mixed_float16", workload="mine", device=Device.GPU, batch_size=7, steps_per_call=4)
    assert case.reference.id == "mine/eager/float32/gpu/b7"
    assert case.reference.reference == case.reference
    assert case.group == case.reference.group


@pytest.mark.parametrize(
    "other",
    [make_case(workload="other"), make_case(device=Device.GPU), make_case(batch_size=32)],
    ids=["workload", "device", "batch size"],
)
def test_cases_with_other_references_are_in_other_groups(other: Case) -> None:
    assert make_case().group != other.group


def test_several_eager_steps_in_one_call_are_refused() -> None:
    with pytest.raises(StepbenchError, match="one step a call"):
        make_case(EAGER, steps_per_call=2)


@pytest.mark.parametrize("value", [0, -1])
def test_counts_below_one_are_refused(value: int) -> None:
    for batch_size, steps in ((value, 1), (64, value)):
        with pytest.raises(StepbenchError, match=f"at least 1, not {value}"):
            Case("cnn", Variant(GRAPH, Precision.FLOAT32), Device.CPU, batch_size, steps)


@pytest.mark.parametrize("precision", list(Precision))
def test_compute_dtype_is_what_the_policy_computes_in(precision: Precision) -> None:
    assert precision.value in {precision.compute_dtype, f"mixed_{precision.compute_dtype}"}
    assert precision.compute_dtype in {"float32", "bfloat16", "float16"}


def test_selection_is_the_product_in_the_order_given() -> None:
    selection = Selection(
        ("cnn",), (XLA, EAGER), (Precision.MIXED_FLOAT16, Precision.FLOAT32), (Device.CPU, Device.GPU), (8, 4)
    )
    assert [case.id for case in selection.cases()] == [
        f"cnn/{execution}/{precision}/{device}/b{batch_size}"
        for device in ("cpu", "gpu")
        for batch_size in (8, 4)
        for execution in ("xla", "eager")
        for precision in ("mixed_float16", "float32")
    ]


def test_default_selection_is_three_executions_by_three_precisions() -> None:
    cases = Selection(("cifar-cnn",)).cases()
    assert len(cases) == 9
    assert {case.variant.execution for case in cases} == {EAGER, GRAPH, XLA}
    assert {(case.device, case.batch_size, case.steps_per_call) for case in cases} == {(Device.CPU, 64, 1)}


def test_selection_holds_each_case_once_and_eager_at_one_step_a_call_only() -> None:
    selection = Selection(("cnn", "cnn"), (GRAPH, GRAPH), (Precision.FLOAT32,) * 2, batch_sizes=(64, 64))
    assert selection.cases() == (make_case(),)
    selection = Selection(("cnn",), (EAGER, GRAPH), (Precision.FLOAT32,), steps_per_call=(1, 8))
    assert [case.id for case in selection.cases()] == [
        "cnn/eager/float32/cpu/b64",
        "cnn/graph/float32/cpu/b64",
        "cnn/graph/float32/cpu/b64/k8",
    ]
    with pytest.raises(StepbenchError, match="one step a call"):
        Selection(("cnn",), (EAGER,), steps_per_call=(8,)).cases()


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_cannot_stand_in_a_case_id_are_refused(name: str) -> None:
    with pytest.raises(StepbenchError, match="is no name for a") as refusal:
        make_case(workload=name)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 300
    with pytest.raises(StepbenchError, match="is no name for a"):
        make_case(name)


@given(st.text())
def test_an_accepted_name_is_one_printable_part_of_an_id(name: str) -> None:
    try:
        check_name("workload", name)
    except StepbenchError:
        return
    assert make_case(workload=name).id.split("/")[0] == name
    assert name.isprintable()


@pytest.mark.parametrize(
    "changes",
    [{"replicates": 0}, {"rounds": 0}, {"replicates": -1}, {"timeout_s": 0.0}, {"timeout_s": float("nan")}],
    ids=str,
)
def test_plan_that_measures_nothing_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(StepbenchError, match=r"at least 1|above 0"):
        make_plan([make_case()], **changes)


@pytest.mark.parametrize("changes", [{"tracing": Tracing()}, {"verification": Verification()}], ids=str)
def test_plan_that_times_nothing_is_allowed_where_it_traces_or_verifies(changes: dict[str, Any]) -> None:
    assert make_plan([make_case()], replicates=0, **changes).replicates == 0
    with pytest.raises(StepbenchError, match="replicates must be at least 0, not -1"):
        make_plan([make_case()], replicates=-1, **changes)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_trace_of_no_step_is_refused(steps: int) -> None:
    with pytest.raises(StepbenchError, match=f"A trace takes at least 1 step, not {steps}"):
        Tracing(steps)


@pytest.mark.parametrize(
    ("steps", "steps_per_call", "calls"), [(10, 1, 10), (50, 8, 6), (10, 3, FEWEST_CALLS), (1, 1, FEWEST_CALLS)]
)
def test_a_trace_holds_whole_calls_and_enough_for_the_viewer(steps: int, steps_per_call: int, calls: int) -> None:
    assert Tracing(steps).calls(make_case(steps_per_call=steps_per_call)) == calls


@pytest.mark.parametrize(("call_s", "calls"), [(0.1, 20), (1.0, 10), (2.5, FEWEST_CALLS), (60.0, FEWEST_CALLS)])
def test_of_slow_calls_a_trace_holds_fewer(call_s: float, calls: int) -> None:
    assert Tracing(20).calls_of(make_case(), call_s) == calls


def test_plan_over_other_cases_is_else_the_same() -> None:
    plan = make_plan([make_case()], seed=5)
    other = plan.with_cases((make_case(XLA),))
    assert other.cases == (make_case(XLA),)
    assert other.with_cases(plan.cases) == plan
