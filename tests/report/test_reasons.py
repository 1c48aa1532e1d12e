"""Reasons from traces and from the machine: each where there is evidence for it, and not without."""

from __future__ import annotations

import msgspec
import pytest
from builders import ENVIRONMENT, make_case, make_measurement, make_operation, make_run, make_traced

from stepbench.records.cases import EAGER, GRAPH, XLA, Case, Device
from stepbench.records.machine import Cpu
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.records.trace import HOST, Operation
from stepbench.report.summary import summarize

NOISE = (0.99, 1.01, 1.0)
FAST_CONVOLUTION = make_operation("_MklNativeFusedConv2D", 0.008, "forward")


def traced(case: Case, *operations: Operation, **changes: float) -> Measurement:
    """Timed as long as the operations take."""
    step_s = sum(operation.seconds for operation in operations)
    return make_traced(case, *operations, blocks=[[10 * step_s * off] * 4 for off in NOISE], **changes)


EAGER_TRACED = traced(make_case(EAGER), FAST_CONVOLUTION, make_operation(HOST, 0.032, "update", calls=0.0))
GRAPH_TRACED = traced(make_case(GRAPH), FAST_CONVOLUTION, make_operation(HOST, 0.002, calls=0.0))


def reasons(*measurements: Measurement, features: tuple[str, ...] = ()) -> tuple[str, ...]:
    environment = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(features=features)) if features else ENVIRONMENT
    run: Run = make_run(*measurements, environment=environment)
    (found,) = summarize(run).recommendations
    return found.why


def test_the_main_cause_of_winning_over_the_reference_is_told() -> None:
    assert reasons(EAGER_TRACED, GRAPH_TRACED)[0] == (
        "graph/float32 is 30.0 ms a step faster than eager/float32: 10.0 against 40.0 ms, "
        "mainly for host in update (32.0 ms)"
    )


def test_without_both_traces_no_cause_is_told() -> None:
    for measurements in (
        (msgspec.structs.replace(EAGER_TRACED, trace=None), GRAPH_TRACED),
        (EAGER_TRACED, msgspec.structs.replace(GRAPH_TRACED, trace=None)),
    ):
        assert not [sentence for sentence in reasons(*measurements) if "mainly" in sentence]


@pytest.mark.parametrize(("untraced_step_s", "is_told"), [(0.045, True), (0.02, True), (0.1, False)])
def test_a_cause_smaller_than_what_trace_and_timing_disagree_about_is_not_told(
    untraced_step_s: float,
    is_told: bool,  # noqa: FBT001 - what is expected.
) -> None:
    assert EAGER_TRACED.trace
    trace = msgspec.structs.replace(EAGER_TRACED.trace, step_s=untraced_step_s, untraced_step_s=untraced_step_s)
    told = reasons(msgspec.structs.replace(EAGER_TRACED, trace=trace), GRAPH_TRACED)
    assert any("mainly" in sentence for sentence in told) == is_told


def test_a_slow_path_of_a_losing_execution_is_told_against_its_twin() -> None:
    slow = traced(make_case(XLA), make_operation("Conv2D", 0.018, "forward"), make_operation(HOST, 0.002, calls=0.0))
    best = traced(make_case(GRAPH, "mixed_bfloat16"), make_operation("_MklNativeFusedConv2D", 0.004, "forward"))
    sentence = "xla/float32 runs Conv2D without oneDNN: 18.0 ms a step, against 8.00 ms with it in graph/float32"
    assert sentence in reasons(EAGER_TRACED, GRAPH_TRACED, slow, best)
    # Without its twin it is held against the best, and an innocent one is not accused.
    assert any("4.00 ms with it in graph/mixed_bfloat16" in found for found in reasons(EAGER_TRACED, slow, best))
    innocent = traced(make_case(XLA), FAST_CONVOLUTION, make_operation(HOST, 0.012, calls=0.0))
    assert not [found for found in reasons(EAGER_TRACED, GRAPH_TRACED, innocent) if "oneDNN" in found]


def test_a_losing_execution_without_a_slow_path_has_its_main_cause_told() -> None:
    losing = traced(make_case(XLA), FAST_CONVOLUTION, make_operation(HOST, 0.012, calls=0.0))
    assert (
        "graph/float32 is 10.0 ms a step faster than xla/float32: 10.0 against 20.0 ms, mainly for host (10.0 ms)"
    ) in reasons(EAGER_TRACED, GRAPH_TRACED, losing)


def test_a_twin_that_is_no_faster_explains_no_loss() -> None:
    best = traced(make_case(GRAPH, "mixed_bfloat16"), make_operation("_MklNativeFusedConv2D", 0.004, "forward"))
    losing = traced(make_case(XLA), FAST_CONVOLUTION, make_operation(HOST, 0.001, calls=0.0))
    told = reasons(EAGER_TRACED, GRAPH_TRACED, losing, best)
    assert any("faster than xla/float32" in found and found.startswith("graph/mixed_bfloat16") for found in told)


def half(execution: str, seconds: float, precision: str = "mixed_float16", device: Device = Device.CPU) -> Measurement:
    case = make_case(execution, precision, device=device)
    return make_measurement(case, *([10 * seconds * off] * 4 for off in NOISE))


def test_why_a_half_precision_that_the_cpu_can_compute_in_loses_is_told_of_the_slowest() -> None:
    slow = make_operation("Conv2DBackpropFilter", 2.5, "backward")
    kernel = make_operation("_MklNativeConv2DBackpropFilter", 0.004, "backward")
    native = ("avx2", "avx512_fp16", "avx512_bf16")
    single = traced(make_case(GRAPH), kernel)
    losing = traced(make_case(GRAPH, "mixed_float16"), slow)
    little = traced(make_case(GRAPH, "mixed_bfloat16"), msgspec.structs.replace(kernel, seconds=0.005))
    sentence = (
        "graph/float32 is 2 496 ms a step faster than graph/mixed_float16: 4.00 against 2 500 ms, "
        "mainly for convolution in backward (2 496 ms)"
    )
    told = reasons(EAGER_TRACED, single, losing, little, features=native)
    assert told.count(sentence) == 1
    assert not [said for said in told if "faster than graph/mixed_bfloat16" in said]
    assert sentence not in reasons(EAGER_TRACED, single, losing, features=("avx2",)), "emulation is told"


EMULATED = "float16 is emulated on this CPU: "


def test_emulated_precisions_that_lose_to_float32_share_a_sentence() -> None:
    told = reasons(EAGER_TRACED, GRAPH_TRACED, half(GRAPH, 0.03), half(EAGER, 0.09), features=("avx2",))
    assert told[-1] == f"{EMULATED}graph/mixed_float16 and eager/mixed_float16 are slower than float32"
    told = reasons(EAGER_TRACED, GRAPH_TRACED, half(GRAPH, 0.03), features=("avx2",))
    assert told[-1] == f"{EMULATED}graph/mixed_float16 is slower than float32"


@pytest.mark.parametrize(
    ("measurement", "features"),
    [
        (half(GRAPH, 0.03), ("avx2", "avx512_fp16")),
        (half(GRAPH, 0.005), ("avx2",)),
        (half(XLA, 0.03), ("avx2",)),
        (half(EAGER, 0.03), ("avx2",)),
    ],
    ids=["native", "fastest", "without float32 beside it", "faster than float32"],
)
def test_emulation_is_not_blamed_without_evidence(measurement: Measurement, features: tuple[str, ...]) -> None:
    assert not [
        told for told in reasons(EAGER_TRACED, GRAPH_TRACED, measurement, features=features) if EMULATED in told
    ]
