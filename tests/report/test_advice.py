"""Each advice where there is evidence for it, and not without."""

from __future__ import annotations

import itertools

import pytest
from builders import make_case, make_operation, make_run, make_trace, make_traced

from stepbench.judge.breakdown import Breakdown, break_down
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Device, Precision
from stepbench.records.machine import Cpu
from stepbench.records.trace import GAP, HOST, Operation
from stepbench.report.advice import advice
from stepbench.report.explain import explained, traced

CASE = make_case(GRAPH)
NATIVE = Cpu(features=("avx2", "avx512_bf16", "avx512_fp16"))
OLD = Cpu(features=("avx2",))


def broken_down(*operations: Operation) -> Breakdown:
    return break_down(make_trace(CASE, *operations))


INNOCENT = broken_down(
    make_operation("_MklNativeFusedConv2D", 0.80, "forward"),
    make_operation(HOST, 0.10),
    make_operation(GAP, 0.02),
    make_operation("Cast", 0.05, "forward"),
    make_operation("IteratorGetNext", 0.02),
    make_operation("EagerPyFunc", 0.01, "forward"),
)


def share_of(kind: str, share: float, part: str = "", **changes: float) -> Breakdown:
    """A step that is good but for a share of one type of operation."""
    return broken_down(
        make_operation(kind, share, part, **changes), make_operation("_MklNativeFusedConv2D", 1 - share, "forward")
    )


def advised(case: Case, mine: Breakdown, other: Breakdown = INNOCENT, cpu: Cpu = NATIVE) -> tuple[str, ...]:
    return advice(case, mine, other, cpu)


@pytest.mark.parametrize("execution", [EAGER, GRAPH, XLA, KERAS, "mine"])
def test_a_good_step_needs_no_advice(execution: str) -> None:
    for precision, device in itertools.product(Precision, Device):
        assert advised(make_case(execution, precision, device=device), INNOCENT) == ()


@pytest.mark.parametrize(
    ("kind", "share", "words"),
    [
        ("IteratorGetNext", 0.12, "waits for its input in 12 % of the step: prefetch, read in parallel, or cache"),
        ("IteratorGetNext", 0.09, None),
        ("PyFunc", 0.06, "calls back into Python in 6 % of the step: replace tf.numpy_function and tf.py_function"),
        ("EagerPyFunc", 0.50, "calls back into Python in 50 % of the step: replace tf.numpy_function"),
        ("PyFunc", 0.04, None),
        ("Cast", 0.20, "spends 20 % of the step on casts and copies: keep tensors in one dtype and one layout"),
        ("copy", 0.20, "spends 20 % of the step on casts and copies: keep tensors in one dtype and one layout"),
        ("Cast", 0.14, None),
        (HOST, 0.29, None),
        ("MatMul", 0.90, None),
    ],
)
def test_what_takes_a_large_share_of_the_step_is_told_with_a_remedy(kind: str, share: float, words: str | None) -> None:
    found = advised(CASE, share_of(kind, share, "forward"))
    if words is None:
        assert found == ()
        return
    (sentence,) = found
    assert sentence.startswith(f"{CASE.id} {words}")


@pytest.mark.parametrize("execution", [EAGER, "mine"])
def test_dispatch_of_an_eager_step_is_told_with_its_operations_and_to_compile(execution: str) -> None:
    case = make_case(execution)
    mine = broken_down(make_operation(HOST, 0.4, calls=0.0), make_operation("_MklMatMul", 0.6, "forward", calls=431.0))
    (sentence,) = advised(case, mine)
    assert sentence.startswith(f"{case.id} spends 40 % of the step in Python and dispatch, 431 operations a step:")
    assert sentence.endswith(": compile it with tf.function")


@pytest.mark.parametrize("execution", [GRAPH, XLA, "mine"])
def test_dispatch_of_a_compiled_step_is_told_to_run_several_in_one_call(execution: str) -> None:
    case = make_case(execution)
    mine = broken_down(
        make_operation(HOST, 0.4, calls=0.0),
        make_operation("_MklMatMul", 0.5, "forward", calls=30.0),
        make_operation(GAP, 0.1, "forward", calls=0.0),
    )
    (sentence,) = advised(case, mine)
    assert sentence.startswith(f"{case.id} spends 40 % of the step in Python and dispatch, 30 operations a step:")
    assert sentence.endswith(": run several in one call (--steps-per-call)")


@pytest.mark.parametrize(
    ("precision", "cpu", "words"),
    [
        (Precision.MIXED_FLOAT16, OLD, "float16 is emulated on this CPU, which costs more than it saves; use float32"),
        (
            Precision.MIXED_BFLOAT16,
            OLD,
            "bfloat16 is emulated on this CPU, which costs more than it saves; use float32",
        ),
        (
            Precision.MIXED_FLOAT16,
            Cpu(features=("avx512_bf16",)),
            "float16 is emulated on this CPU, which costs more than it saves; use bfloat16 or float32",
        ),
        (Precision.MIXED_FLOAT16, NATIVE, None),
        (Precision.MIXED_FLOAT16, Cpu(), None),
        (Precision.FLOAT32, OLD, None),
    ],
)
def test_a_half_precision_that_the_cpu_lacks_is_told_with_those_that_it_has(
    precision: Precision, cpu: Cpu, words: str | None
) -> None:
    case = make_case(GRAPH, precision)
    assert advised(case, INNOCENT, cpu=cpu) == ((f"{case.id}: {words}",) if words else ())
    assert advised(make_case(GRAPH, precision, device=Device.GPU), INNOCENT, cpu=cpu) == ()


REST = make_operation("_MklMatMul", 0.010, "forward")
SLOW = broken_down(REST, make_operation("Conv2DBackpropFilter", 0.006, "backward"))
FAST = broken_down(REST, make_operation("_MklNativeConv2DBackpropFilterWithBias", 0.002, "backward"))


def test_what_the_other_case_computes_faster_with_onednn_is_told() -> None:
    assert advised(CASE, SLOW, FAST) == (
        f"{CASE.id} runs Conv2DBackpropFilter without oneDNN: 6.00 ms a step, against 2.00 ms with it",
    )


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (FAST, SLOW),
        (FAST, FAST),
        (SLOW, SLOW),
        (SLOW, broken_down(REST)),
        (SLOW, broken_down(make_operation("_MklNativeFusedConv2D", 0.001))),
        (SLOW, broken_down(make_operation("_MklNativeConv2DBackpropFilter", 0.0045))),
        (
            broken_down(REST, make_operation("Conv2DBackpropFilter", 0.0005)),
            broken_down(REST, make_operation("_MklNativeConv2DBackpropFilter", 0.0001)),
        ),
        (
            broken_down(REST, make_operation("Conv2D", 0.005), make_operation("_MklNativeConv2D", 0.001)),
            broken_down(REST, make_operation("_MklNativeConv2D", 0.002)),
        ),
    ],
    ids=[
        *(
            "the faster",
            "both with",
            "both without",
            "the other has none",
            "another type",
            "hardly slower",
            "of little",
        ),
        "in part with",
    ],
)
def test_without_a_faster_onednn_elsewhere_nothing_is_told(mine: Breakdown, other: Breakdown) -> None:
    assert advised(CASE, mine, other) == ()


def test_onednn_does_not_matter_on_a_gpu() -> None:
    assert advised(make_case(GRAPH, device=Device.GPU), SLOW, FAST) == ()


def test_an_explanation_advises_on_both_cases_a_first() -> None:
    slow_input = make_traced(make_case(GRAPH), make_operation("IteratorGetNext", 0.01), make_operation("Conv2D", 0.01))
    callback = make_traced(make_case(XLA), make_operation("PyFunc", 0.01), make_operation("Conv2D", 0.01))
    run = make_run(slow_input, callback)
    for a, b in ((slow_input, callback), (callback, slow_input)):
        first, second = explained(traced(run, a), traced(run, b)).advice
        assert first.startswith(a.case.id)
        assert second.startswith(b.case.id)
