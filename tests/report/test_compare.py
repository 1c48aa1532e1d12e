from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_run
from shown import assert_tells, printed, read

from stepbench.errors import StepbenchError
from stepbench.judge.compare import Comparison, compare_runs
from stepbench.records.machine import Cpu
from stepbench.records.store import Run
from stepbench.report.compare import blocks

OTHER = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU", usable_cores=64.0))


def run_of(factor: float = 1.0, *names: str, **changes: Any) -> Run:
    cases = (make_case(name) for name in names or ("graph",))
    times = [[factor * time] * 3 for time in (0.1, 0.1002, 0.0998)]
    return make_run(*(make_measurement(case, *times) for case in cases), **changes)


def compared(old: Run, new: Run, *, allowed: bool = False) -> Comparison:
    return compare_runs(old, new, 0.02, allow_different_machines=allowed)


def terminal(comparison: Comparison) -> str:
    return printed([blocks(comparison)])


def test_the_gravest_case_is_the_verdict() -> None:
    assert compared(run_of(), run_of()).verdict == "pass"
    assert compared(run_of(), run_of(2)).verdict == "regression"
    assert compared(run_of(), run_of(0.5)).verdict == "improved"
    assert compared(run_of(1, "a", "b"), run_of(1, "a")).verdict == "missing"


def test_runs_of_different_machines_or_ways_to_start_workers_are_refused_with_what_differs() -> None:
    with pytest.raises(StepbenchError, match=r"different machines \(CPU: .*Test CPU.* vs Another CPU.*gate"):
        compared(run_of(), run_of(environment=OTHER))
    forked = run_of(environment=msgspec.structs.replace(ENVIRONMENT, forks=True))
    with pytest.raises(StepbenchError, match=r"workers that came about differently \(workers: forked vs started\)"):
        compared(forked, run_of())


def test_different_machines_that_are_allowed_are_shown_and_never_judged() -> None:
    found = compared(run_of(), run_of(2, environment=OTHER), allowed=True)
    assert found.verdict == "not_judged"
    text = terminal(found)
    assert text.startswith("NOT JUDGED: run ")
    assert "2.000 [" in text
    assert "- not the same: CPU: " in text


def test_a_setting_of_the_same_machine_that_differs_is_noted_and_judged() -> None:
    software = msgspec.structs.replace(ENVIRONMENT.software, python="3.12.1")
    found = compared(run_of(), run_of(environment=msgspec.structs.replace(ENVIRONMENT, software=software)))
    assert found.verdict == "pass"
    assert "- not the same: Python: 3.11.7 vs 3.12.1" in terminal(found)


def test_a_missing_case_says_why_in_both_forms() -> None:
    found = compared(make_run(make_failed(make_case(), message="XLA | said\nno.")), run_of())
    why = f"{make_case().id}: it failed in the old run: error: XLA | said no."
    assert_tells([blocks(found)], why)
    assert read([blocks(found)]).rows[1] == [make_case().id, "missing", "–"]


def test_the_json_is_read_back_as_it_was() -> None:
    found = compared(run_of(1, *ODD_NAMES), run_of(1.5, *ODD_NAMES))
    encoded = msgspec.json.encode(found)
    assert msgspec.json.decode(encoded, type=Comparison) == found
    plain = msgspec.json.decode(encoded)
    assert set(plain) == {"schema", "old", "new", "verdict", "threshold", "differences", "cases"}
    assert set(plain["cases"][0]) == {"id", "verdict", "ratio", "why"}
