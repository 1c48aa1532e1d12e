"""Exports hold what the documented examples of the programs that read them hold."""

from __future__ import annotations

import json
import statistics
from typing import Any

import msgspec
import pytest
from builders import (
    ENVIRONMENT,
    ODD_NAMES,
    STARTED,
    make_block,
    make_case,
    make_failed,
    make_measurement,
    make_replicate,
    make_run,
)

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, XLA
from stepbench.records.machine import Environment, Repository
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.report.exports import FORMATS, LONGEST_BENCHER_NAME, exported, left_out
from stepbench.report.summary import restricted, summarize

REFERENCE = make_measurement(make_case(EAGER), [0.2, 0.21], [0.202, 0.2], [0.2, 0.2])
FAST = make_measurement(make_case(GRAPH), [0.1, 0.11], [0.1, 0.102], [0.1, 0.1])
ONCE = make_measurement(make_case("keras"), [0.3, 0.3])
RUN = make_run(REFERENCE, FAST, ONCE, make_failed(make_case(XLA), message="XLA\nsaid \x1b[31mno."))
FAST_ID, REFERENCE_ID, ONCE_ID = FAST.case.id, REFERENCE.case.id, ONCE.case.id

# From the README of benchmark-action/github-action-benchmark, for the tool customSmallerIsBetter.
GITHUB_EXAMPLE = """[
    {
        "name": "My Custom Smaller Is Better Benchmark - CPU Load",
        "unit": "Percent",
        "value": 50
    },
    {
        "name": "My Custom Smaller Is Better Benchmark - Memory Used",
        "unit": "Megabytes",
        "value": 100,
        "range": "3",
        "extra": "Value for Tooltip: 25\\nOptional Num #2: 100\\nAnything Else!"
    }
]"""
# From https://bencher.dev/docs/reference/bencher-metric-format.
BENCHER_EXAMPLE = """{
    "benchmark_name": {
        "latency": {"value": 88.0, "lower_value": 87.42, "upper_value": 88.88},
        "throughput": {"value": 5.55, "lower_value": 3.14, "upper_value": 6.30}
    }
}"""


def export(name: str, run: Run = RUN) -> Any:
    return json.loads(exported(name, run, summarize(run)))


def types(value: dict[str, Any]) -> dict[str, type]:
    """Of a documented example, where numbers may be whole."""
    return {key: float if isinstance(item, int) else type(item) for key, item in value.items()}


def test_github_entries_are_as_the_example_in_milliseconds_a_step_with_half_the_interval() -> None:
    fewest, most = map(types, json.loads(GITHUB_EXAMPLE))
    entries = {entry["name"]: entry for entry in export("github-action-benchmark")}
    assert set(entries) == {FAST_ID, REFERENCE_ID, ONCE_ID}
    for entry in entries.values():
        assert set(fewest) <= set(types(entry))
        assert types(entry).items() <= most.items()
    assert types(entries[FAST_ID]) == most
    case = next(case for case in summarize(RUN).cases if case.id == FAST_ID)
    assert case.step_time_s
    assert case.step_time_s.high
    assert entries[FAST_ID]["unit"] == "ms/step"
    assert entries[FAST_ID]["value"] == 1e3 * case.step_time_s.value
    # github-action-benchmark takes what follows the sign for a number.
    sign, half_width = entries[FAST_ID]["range"].split()
    assert sign == "±"
    assert float(half_width) == pytest.approx(1e3 * (case.step_time_s.high - case.step_time_s.value), rel=0.01)
    assert "range" not in entries[ONCE_ID], "one replicate gives no interval"
    assert "converges: not checked" in entries[FAST_ID]["extra"].splitlines()


def test_bencher_has_the_measures_and_types_of_the_example_in_nanoseconds_and_examples_a_second() -> None:
    example = json.loads(BENCHER_EXAMPLE)["benchmark_name"]
    measures = export("bencher")[FAST_ID]
    assert {name: types(metric) for name, metric in measures.items()} == {
        name: types(metric) for name, metric in example.items()
    }
    assert export("bencher")[ONCE_ID].keys() == example.keys()
    assert {tuple(metric) for metric in export("bencher")[ONCE_ID].values()} == {("value",)}
    case = next(case for case in summarize(RUN).cases if case.id == FAST_ID)
    assert case.step_time_s
    assert case.throughput
    assert measures["latency"]["value"] == pytest.approx(case.step_time_s.value * 1_000_000_000)
    assert measures["throughput"]["value"] == pytest.approx(64 / case.step_time_s.value)
    for metric in measures.values():
        assert metric["lower_value"] < metric["value"] < metric["upper_value"]


def test_pytest_benchmark_gets_the_blocks_and_its_own_statistics() -> None:
    benchmarks = {one["fullname"]: one for one in export("pytest-benchmark")["benchmarks"]}
    assert set(benchmarks) == {FAST_ID, REFERENCE_ID, ONCE_ID}
    stats = benchmarks[FAST_ID]["stats"]
    assert stats["data"] == pytest.approx([0.01, 0.011, 0.01, 0.0102, 0.01, 0.01])
    assert stats["mean"] == pytest.approx(statistics.fmean(stats["data"]))
    assert stats["median"] == pytest.approx(0.01)
    assert (stats["rounds"], stats["iterations"]) == (6, 10)
    assert benchmarks[FAST_ID]["extra_info"]["equivalence"] == "not_checked"
    assert benchmarks[FAST_ID]["extra_info"]["speedup"]["value"] == pytest.approx(1.97, abs=0.03)


def test_blocks_of_different_lengths_are_compared_by_the_step() -> None:
    blocks = (make_block(0, 0.1, steps=10), make_block(1, 0.3, steps=30), make_block(2, 0.2, steps=20))
    replicates = tuple(make_replicate(FAST.case, [], number, blocks=blocks) for number in range(2))
    (found,) = export("pytest-benchmark", make_run(Measurement(FAST.case, replicates)))["benchmarks"]
    assert found["stats"]["data"] == pytest.approx([0.01] * 6)
    assert found["stats"]["iterations"] == 20


def test_pytest_benchmark_is_told_of_the_machine_and_the_commit_of_the_run() -> None:
    repository = Repository(commit="a" * 40, branch="main", dirty=True)
    run = msgspec.structs.replace(RUN, environment=msgspec.structs.replace(ENVIRONMENT, repository=repository))
    found = export("pytest-benchmark", run)
    assert found["datetime"] == STARTED.isoformat()
    assert (found["machine_info"]["node"], found["machine_info"]["cpu"]["brand_raw"]) == ("lab", "Test CPU")
    commit = found["commit_info"]
    assert (commit["id"], commit["branch"], commit["dirty"]) == ("a" * 40, "main", True)
    unknown = export("pytest-benchmark", msgspec.structs.replace(RUN, environment=Environment()))["commit_info"]
    assert (unknown["id"], unknown["branch"], unknown["dirty"]) == ("unversioned", "(unknown)", False)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_times_cannot_be_exported(name: str) -> None:
    run = make_run(make_failed(make_case(XLA)))
    with pytest.raises(StepbenchError, match=f"has no times to export: see why with 'stepbench report {run.run_id}'"):
        export(name, run)


def test_what_is_left_out_is_told_on_one_line() -> None:
    run = make_run(*RUN.measurements, Measurement(make_case("late")), finished=None)
    assert set(left_out(summarize(run))) == {
        "cnn/xla/float32/cpu/b64 is left out: error: XLA said [31mno.",
        "cnn/late/float32/cpu/b64 is left out: not measured yet",
    }


@pytest.mark.parametrize("name", FORMATS)
def test_certain_cases_can_be_exported_alone(name: str) -> None:
    text = exported(name, RUN, restricted(summarize(RUN), {FAST_ID}))
    assert FAST_ID in text
    assert REFERENCE_ID not in text


def test_odd_names_come_back_as_they_are() -> None:
    cases = [make_case(name, workload=name) for name in (*ODD_NAMES, "__proto__", "a-bencher-ignore", "x" * 500)]
    run, ids = make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases)), {case.id for case in cases}
    assert all(exported(name, run, summarize(run)).isascii() for name in FORMATS)
    assert {entry["name"] for entry in export("github-action-benchmark", run)} == ids
    assert {entry["fullname"] for entry in export("pytest-benchmark", run)["benchmarks"]} == ids
    assert set(export("bencher", run)) == ids


def test_names_that_are_too_long_for_bencher_are_shortened_and_stay_apart() -> None:
    cases = [make_case("é" * 500 + end, workload="w" * 300) for end in "ab"]
    names = list(export("bencher", make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases))))
    assert len(names) == 2
    assert max(len(name.encode()) for name in names) <= LONGEST_BENCHER_NAME
