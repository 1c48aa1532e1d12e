from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from builders import (
    MEBIBYTE,
    ODD_NAMES,
    STARTED,
    make_case,
    make_closing,
    make_failed,
    make_measurement,
    make_phases,
    make_run,
)

from stepbench.judge.statistics import speedup, step_time
from stepbench.records.cases import EAGER, XLA, Device
from stepbench.records.run import FailureKind, InputWait, Measurement
from stepbench.records.store import Run
from stepbench.report.case_summary import CaseSummary
from stepbench.report.summary import summarize

# The published contract of ``stepbench report --format json``.
RUN_KEYS = {
    *("schema", "run_id", "started", "environment", "data", "cases"),
    *("attainable", "published", "recommendations", "remarks"),
}
CASE_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "workload": str,
    "execution": str,
    "precision": str,
    "device": str,
    "batch_size": int,
    "steps_per_call": int,
    "settings": dict,
    "replicas": int,
    "strategy": (str, type(None)),
    "status": str,
    "failure": (dict, type(None)),
    "step_time_s": (dict, type(None)),
    "throughput": (dict, type(None)),
    "speedup": (dict, type(None)),
    "first_call_s": (float, type(None)),
    "compile_s": (float, type(None)),
    "break_even_steps": (float, type(None)),
    "break_even": (dict, type(None)),
    "break_even_epochs": (dict, type(None)),
    "break_even_s": (dict, type(None)),
    "epoch_s": (dict, type(None)),
    "peak_memory_bytes": (int, type(None)),
    "memory_by_phase": dict,
    "energy_per_1000_examples_j": (dict, type(None)),
    "flops_per_step": (float, type(None)),
    "flops_utilization": (float, type(None)),
    "bytes_per_step": (float, type(None)),
    "arithmetic_intensity": (float, type(None)),
    "roofline_flops": (float, type(None)),
    "input_wait_share": (float, type(None)),
    "equivalence": dict,
    "trace": (str, type(None)),
    "profile": (dict, type(None)),
    "warnings": list,
}
ESTIMATES = ("step_time_s", "throughput", "speedup")

REFERENCE = make_case(EAGER)
FAST = make_case("graph")
SLOW = make_case("graph", "mixed_float16")
BROKEN = make_case(XLA)
RUN = make_run(
    make_measurement(SLOW, [0.4, 0.4], [0.41, 0.4], [0.4], closing=make_closing(input_wait=InputWait(10, 2.0, 0.5))),
    make_failed(BROKEN, FailureKind.COMPILE_ERROR, "XLA said no."),
    make_measurement(REFERENCE, [0.2, 0.2], [0.2, 0.2], [0.2]),
    make_measurement(FAST, [0.1, 0.1], [0.1, 0.1], [0.1]),
)


def as_json(run: Run) -> dict[str, Any]:
    parsed: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(summarize(run)))
    return parsed


def only(run: Run) -> CaseSummary:
    (case,) = summarize(run).cases
    return case


def case_of(run: Run, case_id: str) -> CaseSummary:
    return next(case for case in summarize(run).cases if case.id == case_id)


def test_json_has_the_keys_of_the_contract() -> None:
    report = as_json(RUN)
    assert set(report) == RUN_KEYS
    assert report["schema"] == 1
    assert report["run_id"] == RUN.run_id
    assert report["data"] == "synthetic"
    assert datetime.fromisoformat(report["started"]) == STARTED
    assert isinstance(report["environment"], dict)
    assert len(report["cases"]) == 4
    for case in report["cases"]:
        assert set(case) == set(CASE_TYPES)


def test_json_has_the_types_of_the_contract() -> None:
    for case in as_json(RUN)["cases"]:
        for key, kind in CASE_TYPES.items():
            assert isinstance(case[key], kind), key
        assert case["status"] in {"ok", "failed"}
        for name in ESTIMATES:
            if case[name]:
                assert set(case[name]) == {"value", "low", "high", "confidence"}
                assert all(isinstance(number, float) for number in case[name].values())
                assert case[name]["low"] <= case[name]["value"] <= case[name]["high"]
        if case["failure"]:
            assert set(case["failure"]) == {"kind", "message"}
            assert all(isinstance(text, str) for text in case["failure"].values())
        assert set(case["equivalence"]) == {"verdict", "why"}
        assert case["equivalence"]["verdict"] in {"equivalent", "different", "inconclusive", "not_checked"}
        assert isinstance(case["equivalence"]["why"], list)
        assert all(isinstance(warning, str) for warning in case["warnings"])


def test_json_names_a_case_by_its_id_and_its_parts() -> None:
    (case,) = as_json(make_run(make_measurement(make_case(XLA, "mixed_bfloat16", steps_per_call=8), [0.1])))["cases"]
    parts = ("id", "workload", "execution", "precision", "device", "batch_size", "steps_per_call")
    assert [case[part] for part in parts] == [
        *("cnn/xla/mixed_bfloat16/cpu/b64/k8", "cnn", "xla", "mixed_bfloat16", "cpu", 64, 8)
    ]


def test_json_has_odd_names_as_they_are() -> None:
    names = [*ODD_NAMES, "x" * 500]
    cases = as_json(make_run(*(make_measurement(make_case(name, workload=name), [0.1]) for name in names)))["cases"]
    assert {(case["workload"], case["execution"]) for case in cases} == {(name, name) for name in names}


def test_cases_come_fastest_first_and_failed_ones_after_those_of_every_workload() -> None:
    assert [case.id for case in summarize(RUN).cases] == [FAST.id, REFERENCE.id, SLOW.id, BROKEN.id]
    measured = [make_measurement(make_case(workload=workload), [0.1]) for workload in ("a", "b")]
    failed = [make_failed(make_case(XLA, workload=workload)) for workload in ("a", "b")]
    cases = summarize(make_run(failed[1], measured[1], failed[0], measured[0])).cases
    assert [(case.workload, case.status) for case in cases] == [
        *(("a", "ok"), ("b", "ok"), ("a", "failed"), ("b", "failed"))
    ]


def test_workloads_and_devices_are_not_mixed_by_speed() -> None:
    cases = [
        make_case(workload=workload, device=device) for workload in ("b", "a") for device in (Device.GPU, Device.CPU)
    ]
    seconds = (0.1, 0.2, 0.3, 0.4)
    run = make_run(*(make_measurement(case, [time]) for case, time in zip(cases, seconds, strict=True)))
    assert [(case.workload, case.device) for case in summarize(run).cases] == [
        *(("a", "cpu"), ("a", "gpu"), ("b", "cpu"), ("b", "gpu"))
    ]


def test_estimates_are_those_of_the_statistics() -> None:
    slow, reference = RUN.measurements[0], RUN.measurements[2]
    case = case_of(RUN, SLOW.id)
    assert case.step_time_s == step_time(slow)
    assert case.step_time_s is not None
    assert case.throughput == case.step_time_s.inverse(64)
    assert case.throughput.value == pytest.approx(64 / case.step_time_s.value)
    assert case.speedup == speedup(slow, reference)


def test_the_reference_is_as_fast_as_itself() -> None:
    case = case_of(RUN, REFERENCE.id)
    assert case.speedup is not None
    assert (case.speedup.low, case.speedup.value, case.speedup.high) == (1.0, 1.0, 1.0)
    assert case.break_even_steps is None


@pytest.mark.parametrize("failure", list(FailureKind))
def test_a_failed_case_has_its_reason_and_no_number(failure: FailureKind) -> None:
    measured = make_measurement(FAST, [0.1, 0.1], [0.1, 0.1])
    failed = msgspec.structs.replace(measured, failure=make_failed(FAST, failure, "So it is.").failure)
    (case,) = as_json(make_run(failed))["cases"]
    assert case["status"] == "failed"
    assert case["failure"] == {"kind": failure.value, "message": "So it is."}
    nulls = {key for key, value in case.items() if value is None}
    assert nulls == {key for key, kind in CASE_TYPES.items() if isinstance(kind, tuple)} - {"failure"}
    assert case["warnings"] == []


@pytest.mark.parametrize("measurement", [Measurement(FAST), make_measurement(FAST, []), make_measurement(FAST, [], [])])
def test_a_case_without_a_block_has_no_number(measurement: Measurement) -> None:
    case = only(make_run(measurement, finished=None))
    assert (case.status, case.failure, case.step_time_s, case.throughput) == ("failed", None, None, None)


@pytest.mark.parametrize(
    "others",
    [
        (),
        (make_failed(REFERENCE),),
        (msgspec.structs.replace(make_measurement(REFERENCE, [0.2]), failure=make_failed(REFERENCE).failure),),
        (make_measurement(make_case(EAGER, batch_size=32), [0.1]),),
        (make_measurement(make_case(EAGER, "mixed_float16"), [0.1]),),
        (Measurement(REFERENCE),),
    ],
    ids=["none", "failed", "failed once measured", "another batch size", "another precision", "not measured"],
)
def test_without_a_measured_reference_there_is_no_speedup(others: tuple[Measurement, ...]) -> None:
    case = case_of(make_run(make_measurement(FAST, [0.1]), *others), FAST.id)
    assert case.status == "ok"
    assert (case.speedup, case.break_even_steps) == (None, None)


@pytest.mark.parametrize(
    ("first_call_s", "block_s", "expected"),
    [
        (3.0, 0.1, 200.0),  # 2 s more, and 10 ms saved each step.
        (0.5, 0.1, 0.0),
        (3.0, 0.2, None),
    ],
)
def test_break_even_is_when_the_first_call_has_paid_back(
    first_call_s: float, block_s: float, expected: float | None
) -> None:
    reference = make_measurement(REFERENCE, [0.2], [0.2], phases=make_phases(first_call_s=1.0))
    mine = make_measurement(FAST, [block_s], [block_s], phases=make_phases(first_call_s=first_call_s))
    assert case_of(make_run(reference, mine), FAST.id).break_even_steps == pytest.approx(expected)


def test_peak_memory_is_what_the_process_added_or_the_accelerators() -> None:
    closing = make_closing(baseline_rss_bytes=300 * MEBIBYTE, peak_rss_bytes=420 * MEBIBYTE)
    assert only(make_run(make_measurement(FAST, [0.1], closing=closing))).peak_memory_bytes == 120 * MEBIBYTE
    closing = make_closing(device_peak_bytes=3 * MEBIBYTE)
    assert only(make_run(make_measurement(FAST, [0.1], closing=closing))).peak_memory_bytes == 3 * MEBIBYTE


def test_what_a_cut_short_replicate_did_not_report_is_null() -> None:
    case = only(make_run(make_measurement(FAST, [0.1], closing=None)))
    assert (case.peak_memory_bytes, case.input_wait_share) == (None, None)
    assert case.step_time_s is not None


def test_input_wait_is_a_share_of_the_time() -> None:
    assert case_of(RUN, SLOW.id).input_wait_share == 0.25
    assert case_of(RUN, FAST.id).input_wait_share is None
