"""What a case's summary warns of."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, QUIET, make_block, make_case, make_evidence, make_measurement, make_run

from stepbench.records.cases import EAGER, Case, Device
from stepbench.records.machine import Cpu, Environment
from stepbench.records.run import Work
from stepbench.records.store import Run
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import summarize

REFERENCE = make_case(EAGER)
FAST = make_case("graph")
SLOW = make_case("graph", "mixed_float16")


def only(run: Run) -> CaseSummary:
    (case,) = summarize(run).cases
    return case


def with_features(*features: str) -> Environment:
    return msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(features=features))


@pytest.mark.parametrize(
    ("precision", "features", "warnings"),
    [
        ("mixed_float16", ("avx2", "avx512_bf16"), ("float16 is emulated on this CPU",)),
        ("mixed_float16", ("avx2", "avx512_fp16"), ()),
        ("mixed_float16", ("fphp", "asimdhp"), ()),
        ("mixed_float16", (), ()),
        ("mixed_bfloat16", ("avx2", "avx512_fp16"), ("bfloat16 is emulated on this CPU",)),
        ("mixed_bfloat16", ("avx512_bf16",), ()),
        ("mixed_bfloat16", ("amx_bf16",), ()),
        ("float32", ("avx2",), ()),
    ],
)
def test_a_half_precision_that_the_cpu_lacks_is_said_to_be_emulated(
    precision: str, features: tuple[str, ...], warnings: tuple[str, ...]
) -> None:
    run = make_run(
        make_measurement(make_case(precision=precision), [0.1], [0.1], [0.1]), environment=with_features(*features)
    )
    assert only(run).warnings == warnings


def test_the_cpus_features_do_not_matter_on_a_gpu() -> None:
    measurement = make_measurement(make_case(precision="mixed_float16", device=Device.GPU), [0.1], [0.1], [0.1])
    assert only(make_run(measurement, environment=with_features("avx2"))).warnings == ()


def test_replicates_that_are_missing_are_counted_and_an_undisturbed_case_has_no_warning() -> None:
    assert only(make_run(make_measurement(FAST, [0.1, 0.101], [0.1, 0.1], [0.1]))).warnings == ()
    run = make_run(make_measurement(FAST, [0.1], [0.1], [0.1]))
    plan = msgspec.structs.replace(run.plan, replicates=4)
    assert only(msgspec.structs.replace(run, plan=plan)).warnings == ("only 3 of 4 replicates",)


@pytest.mark.parametrize(
    ("case", "observed", "words"),
    [
        (SLOW, {"output_dtypes": ("float16",)}, "the model's outputs are in float16, so its loss has few digits"),
        (FAST, {"output_dtypes": ("float32",)}, ""),
        (REFERENCE, {"compiles_itself": True}, "the model's own train_step is a tf.function, so it cannot be run eag"),
        (FAST, {"compiles_itself": True}, ""),
    ],
)
def test_what_the_users_step_does_to_its_numbers_is_said(case: Case, observed: dict[str, Any], words: str) -> None:
    blocks = [[0.1, 0.1]] * 3
    run = make_run(make_measurement(case, *blocks, evidence=make_evidence(case, **observed)))
    run = msgspec.structs.replace(run, environment=with_features("avx512_bf16", "avx512_fp16"))
    assert [warning.startswith(words) for warning in only(run).warnings] == [True] * bool(words)


def test_work_that_is_counted_in_part_is_said() -> None:
    work = Work(1e9, 1e6, 640, uncounted=("Custom", "Other"))
    measurement = msgspec.structs.replace(make_measurement(FAST, [0.1, 0.1], [0.1, 0.1], [0.1]), work=work)
    assert only(make_run(measurement)).warnings == ("its operations are counted without Custom, Other",)


@pytest.mark.parametrize("replicates", [([0.1],), ([0.1], []), ([], [0.1], [])])
def test_one_replicate_is_said_to_give_no_interval(replicates: tuple[list[float], ...]) -> None:
    assert only(make_run(make_measurement(FAST, *replicates))).warnings == ("one replicate gives no interval",)


def test_a_wide_interval_is_said_with_a_remedy() -> None:
    case = only(make_run(make_measurement(FAST, [0.1], [0.12], [0.1])))
    assert case.step_time_s is not None
    width = case.step_time_s.relative_half_width
    assert width is not None
    assert width > 0.1
    assert case.warnings == (
        f"the step time is known to ±{width:.0%} only: the machine was noisy, or add --replicates",
    )


@pytest.mark.parametrize(
    ("share", "warnings"),
    [
        (0.05, ("the hypervisor took 5% of the processors' time",)),
        (0.021, ("the hypervisor took 2% of the processors' time",)),
        (0.02, ()),
        (0.0, ()),
        (None, ()),
    ],
)
def test_stolen_time_is_said_when_it_shows(share: float | None, warnings: tuple[str, ...]) -> None:
    blocks = (make_block(noise=msgspec.structs.replace(QUIET, steal_share=share)),)
    assert only(make_run(make_measurement(FAST, [], [], [], blocks=blocks))).warnings == warnings


@pytest.mark.parametrize(
    ("leaked_cpu_s", "warnings"),
    [(1.0, ("stopped workers used 3.0 s of processor time meanwhile",)), (0.001, ()), (0.0, ())],
)
def test_stopped_workers_that_ran_are_told_on(leaked_cpu_s: float, warnings: tuple[str, ...]) -> None:
    blocks = (make_block(leaked_cpu_s=leaked_cpu_s),)
    assert only(make_run(make_measurement(FAST, [], [], [], blocks=blocks))).warnings == warnings


def test_products_in_another_dtype_are_counted() -> None:
    case = make_case(precision="mixed_bfloat16")
    evidence = make_evidence(case, compute_ops={"graph": {"bfloat16": 9, "float32": 2, "float16": 1}})
    assert only(make_run(make_measurement(case, [0.1], [0.1], [0.1], evidence=evidence))).warnings == (
        "not all products run in bfloat16: 1 in float16, 2 in float32",
    )
    named = make_evidence(case, compute_ops=evidence.compute_ops, other_products=("a/MatMul", "b", "c", "d"))
    assert only(make_run(make_measurement(case, [0.1], [0.1], [0.1], evidence=named))).warnings == (
        "not all products run in bfloat16: 1 in float16, 2 in float32 (a/MatMul, b, c …)",
    )
