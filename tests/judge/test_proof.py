from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from builders import make_block, make_case, make_closing, make_evidence

from stepbench.judge.proof import judge_block, judge_end, judge_start, partly_other_dtypes
from stepbench.records.cases import BUILT_IN_EXECUTIONS, EAGER, GRAPH, KERAS, XLA, Case, Device, Precision
from stepbench.records.run import Failure, FailureKind
from stepbench.records.settings import Setting

INNOCENT = [
    make_case(execution, precision, device=device)
    for execution, precision, device in itertools.product(BUILT_IN_EXECUTIONS, Precision, Device)
]
BFLOAT16 = Precision.MIXED_BFLOAT16


def complaint(failure: Failure | None) -> str:
    """The message of a failed proof, empty for a proof that holds."""
    if failure is None:
        return ""
    assert failure.kind is FailureKind.NOT_PROVED
    return failure.message


@pytest.mark.parametrize("case", INNOCENT, ids=str)
def test_the_innocent_pass(case: Case) -> None:
    evidence = make_evidence(case)
    assert judge_start(case, evidence) is None
    assert not partly_other_dtypes(case, evidence)


def test_a_case_of_several_steps_a_call_passes_and_one_without_products_is_judged_by_the_rest() -> None:
    case = make_case(XLA, steps_per_call=8)
    assert judge_start(case, make_evidence(case)) is None
    assert judge_start(THREADED, make_evidence(THREADED)) is None
    case = make_case(GRAPH, BFLOAT16)
    assert judge_start(case, make_evidence(case, compute_ops={})) is None
    assert "calls no compiled function" in complaint(
        judge_start(case, make_evidence(case, compute_ops={}, function_calls=0))
    )


# Each lie, as a change to innocent evidence, with the words that must expose it.
THREADED = make_case(settings=(Setting("intra_threads", "2"), Setting("malloc", "tcmalloc")))
PLANTED: list[tuple[Case, dict[str, Any], str]] = [
    (THREADED, {"settings": {"intra_threads": "2"}}, "to run with malloc=tcmalloc, but there is no trace of that"),
    (THREADED, {"settings": {"intra_threads": "4", "malloc": "tcmalloc"}}, "intra_threads=2, but intra_threads is 4"),
    (make_case(), {"batch_size": 32}, "fed 32 examples, not 64"),
    (make_case(device=Device.GPU), {"devices": ("cpu",)}, "lie on cpu, not on gpu"),
    (make_case(device=Device.GPU), {"devices": ("cpu", "gpu")}, "lie on cpu, not on gpu"),
    (make_case(), {"devices": ("gpu",)}, "lie on gpu, not on cpu"),
    (make_case(GRAPH, BFLOAT16), {"variable_dtypes": ("bfloat16",)}, "kept in bfloat16, not in float32"),
    (make_case(GRAPH, BFLOAT16), {"variable_dtypes": ("float16", "float32")}, "kept in float16, not in float32"),
    (
        make_case(EAGER),
        {"eager_updates": 0, "compute_ops": {"graph": {"float32": 12}}},
        "claims to be eager, but the step runs inside compiled functions",
    ),
    (
        make_case(EAGER),
        {"eager_updates": 0, "compute_ops": {"xla": {"float32": 12}}},
        "claims to be eager, but the step runs inside compiled functions",
    ),
    (
        make_case(EAGER),
        {"compute_ops": {"eager": {"float32": 11}, "graph": {"float32": 1}}},
        "claims to be eager, but the step runs inside compiled functions",
    ),
    (
        make_case(GRAPH),
        {"function_calls": 0, "compute_ops": {"eager": {"float32": 12}}},
        "claims to be graph, but calls no compiled function",
    ),
    (
        make_case(GRAPH),
        {"compute_ops": {"graph": {"float32": 11}, "eager": {"float32": 1}}},
        "claims to be graph, but some of its products run eagerly",
    ),
    (make_case(GRAPH), {"compute_ops": {"xla": {"float32": 12}}}, "to run as a graph, but was compiled by XLA"),
    (make_case(GRAPH), {"traces": 2}, "traced the step 2 times, not once"),
    (make_case(XLA), {"xla_compilations": 0}, "claims to be xla, but XLA compiled nothing"),
    (
        make_case(XLA),
        {"xla_compilations": 0, "compute_ops": {"graph": {"float32": 12}}},
        "claims to be xla, but XLA compiled nothing",
    ),
    (
        make_case(XLA),
        {"compute_ops": {"xla": {"float32": 11}, "graph": {"float32": 1}}},
        "claims to be xla, but some of its products run outside of XLA",
    ),
    (
        make_case(XLA),
        {"compute_ops": {"xla": {"float32": 11}, "eager": {"float32": 1}}},
        "claims to be xla, but some of its products run eagerly",
    ),
    (make_case(XLA), {"function_calls": 0}, "claims to be xla, but calls no compiled function"),
    (make_case(XLA), {"traces": 2}, "traced the step 2 times, not once"),
    (make_case(GRAPH), {"compute_ops": {"graph": {"bfloat16": 12}}}, "12 of 12 products run in bfloat16"),
    (make_case(GRAPH), {"compute_ops": {"graph": {"float32": 9, "bfloat16": 3}}}, "3 of 12 products run in bfloat16"),
    (make_case(GRAPH, BFLOAT16), {"compute_ops": {"graph": {"float32": 12}}}, "float32, none in bfloat16"),
    (make_case(GRAPH, BFLOAT16), {"compute_ops": {"graph": {"float16": 12}}}, "float16, none in bfloat16"),
    (make_case(KERAS, "mixed_float16"), {"compute_ops": {"graph": {"float32": 5}}}, "float32, none in float16"),
]


@pytest.mark.parametrize(("case", "lie", "words"), PLANTED, ids=[f"{case}: {words}" for case, _, words in PLANTED])
def test_a_planted_lie_is_exposed(case: Case, lie: dict[str, Any], words: str) -> None:
    message = complaint(judge_start(case, make_evidence(case, **lie)))
    assert words in message
    assert ";" not in message, "one lie, one complaint"
    assert message.endswith(".")


IN_A_LAYER: dict[str, dict[str, dict[str, int]]] = {
    "all": {"graph": {"float32": 12}},
    "some": {"eager": {"float32": 8}, "graph": {"float32": 4}},
    "in XLA": {"eager": {"float32": 8}, "xla": {"float32": 4}},
}


@pytest.mark.parametrize("compute_ops", IN_A_LAYER.values(), ids=IN_A_LAYER)
def test_a_step_is_eager_whatever_a_layer_compiles_as_long_as_it_updates_the_weights_itself(
    compute_ops: dict[str, dict[str, int]],
) -> None:
    case = make_case(EAGER)
    assert judge_start(case, make_evidence(case, compute_ops=compute_ops, function_calls=3, eager_updates=9)) is None
    failure = judge_start(case, make_evidence(case, compute_ops=compute_ops, function_calls=1, eager_updates=0))
    assert "claims to be eager, but the step runs inside compiled functions" in complaint(failure)


def test_a_users_own_compiled_step_has_no_other_way_to_run() -> None:
    case = make_case(EAGER)
    lying: dict[str, Any] = {"compute_ops": {"graph": {"float32": 12}}, "function_calls": 1, "eager_updates": 0}
    assert judge_start(case, make_evidence(case, **lying, compiles_itself=True)) is None
    assert judge_start(case, make_evidence(case, **lying)) is not None


def test_records_of_before_do_not_know_where_updates_are_made_and_are_judged_by_products() -> None:
    case = make_case(EAGER)
    compiled = make_evidence(case, compute_ops={"eager": {"float32": 11}, "graph": {"float32": 1}}, eager_updates=None)
    assert "claims to be eager" in complaint(judge_start(case, compiled))


def test_all_lies_are_named_in_one_failure() -> None:
    evidence = make_evidence(make_case(), batch_size=1, devices=("gpu",), traces=3)
    message = complaint(judge_start(make_case(), evidence))
    assert [words in message for words in ("fed 1 examples", "lie on gpu", "3 times")] == [True] * 3
    assert message.count(";") == 2


def test_an_execution_of_ones_own_that_claims_nothing_is_not_asked_how_it_runs() -> None:
    case = make_case("mine")
    evidence = make_evidence(case, traces=4, compute_ops={"eager": {"float32": 1}, "xla": {"float32": 1}})
    assert judge_start(case, evidence) is None


@pytest.mark.parametrize(("claims", "words"), [(GRAPH, "calls no compiled function"), (XLA, "calls no compiled")])
def test_an_execution_of_ones_own_must_prove_what_it_claims(claims: str, words: str) -> None:
    case = make_case("mine")
    evidence = make_evidence(case, claims=claims, compute_ops={"eager": {"float32": 12}})
    assert words in complaint(judge_start(case, evidence))


def test_a_mixed_step_with_some_products_in_another_dtype_is_only_warned_of() -> None:
    case = make_case(GRAPH, BFLOAT16)
    evidence = make_evidence(case, compute_ops={"graph": {"bfloat16": 10, "float32": 2}})
    assert judge_start(case, evidence) is None
    assert partly_other_dtypes(case, evidence) == {"float32": 2}


def test_products_are_counted_wherever_they_run() -> None:
    case = make_case("mine")
    evidence = make_evidence(case, compute_ops={"graph": {"bfloat16": 1}, "xla": {"bfloat16": 2, "float32": 4}})
    assert partly_other_dtypes(case, evidence) == {"bfloat16": 3}
    assert "3 of 7 products run in bfloat16" in complaint(judge_start(case, evidence))


def test_a_loss_that_is_no_number_is_non_finite_before_all_else_and_zero_is_one() -> None:
    failure = judge_start(make_case(), make_evidence(make_case(), loss=None, batch_size=1))
    assert failure == Failure(FailureKind.NON_FINITE, "The loss is NaN or infinite after the first step.")
    assert judge_block(make_block()) is None
    failure = judge_block(make_block(loss=None))
    assert failure == Failure(FailureKind.NON_FINITE, "The loss is NaN or infinite after 10 steps.")
    assert judge_block(make_block(loss=0.0)) is None
    assert judge_start(make_case(), make_evidence(make_case(), loss=0.0)) is None


def test_a_quiet_end_passes_and_a_variable_that_is_no_number_is_non_finite_whatever_else_there_is() -> None:
    assert judge_end(make_closing()) is None
    failure = Failure(FailureKind.NON_FINITE, "A variable is NaN or infinite after the last block.")
    assert judge_end(make_closing(finite_variables=False)) == failure
    assert judge_end(make_closing(finite_variables=False, traces=3)) == failure


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"traces": 3}, "traced again while it was timed (3 times)"),
        ({"xla_compilations": 2}, "XLA compiled again while the step was timed (2 times)"),
    ],
)
def test_work_of_the_first_call_done_again_during_timing_fails_the_case(changes: dict[str, int], words: str) -> None:
    message = complaint(judge_end(msgspec.structs.replace(make_closing(), **changes)))
    assert words in message
    assert "(0 times)" not in message
