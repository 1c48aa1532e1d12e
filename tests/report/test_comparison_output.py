from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_run
from pages import rendered
from rich.console import Console

from stepbench.errors import StepbenchError
from stepbench.records.machine import Cpu
from stepbench.records.store import Run
from stepbench.report.compare import Comparison, compare_runs, markdown, print_comparison

OTHER = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU", usable_cores=64.0))


def run_of(factor: float = 1.0, *names: str, **changes: Any) -> Run:
    cases = (make_case(name) for name in names or ("graph",))
    times = [[factor * time] * 3 for time in (0.1, 0.1002, 0.0998)]
    return make_run(*(make_measurement(case, *times) for case in cases), **changes)


def compared(old: Run, new: Run, *, allowed: bool = False) -> Comparison:
    return compare_runs(old, new, 0.02, allow_different_machines=allowed)


def terminal(comparison: Comparison, width: int = 160) -> str:
    file = io.StringIO()
    print_comparison(comparison, Console(file=file, width=width, highlight=False))
    return file.getvalue()


def test_the_gravest_case_is_the_verdict() -> None:
    assert compared(run_of(), run_of()).verdict == "pass"
    assert compared(run_of(), run_of(2)).verdict == "regression"
    assert compared(run_of(), run_of(0.5)).verdict == "improved"
    assert compared(run_of(1, "a", "b"), run_of(1, "a")).verdict == "missing"


def test_runs_of_different_machines_are_refused_with_what_differs() -> None:
    with pytest.raises(StepbenchError, match=r"different machines \(CPU: .*Test CPU.* vs Another CPU.*gate"):
        compared(run_of(), run_of(environment=OTHER))


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
    assert f"- {why}" in terminal(found)
    page = rendered(markdown(found))
    assert why in page.text
    assert page.rows[1] == [make_case().id, "missing", "–"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_shown_as_they_are(name: str) -> None:
    found = compared(run_of(1, name), run_of(1.5, name))
    case = make_case(name).id
    assert case in terminal(found)
    page = rendered(markdown(found))
    assert page.rows[1][:2] == [case, "regression"]
    assert page.tags <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


def test_what_a_run_holds_cannot_steer_the_terminal_or_the_page() -> None:
    found = compared(run_of(), run_of(1.5, run_id="\x1b[2J<b>x</b>"))
    assert "\x1b" not in terminal(found)
    page = rendered(markdown(found))
    assert "b" not in page.tags
    assert "<b>x</b>" in page.text


def test_the_json_is_read_back_as_it_was() -> None:
    found = compared(run_of(1, *ODD_NAMES), run_of(1.5, *ODD_NAMES))
    encoded = msgspec.json.encode(found)
    assert msgspec.json.decode(encoded, type=Comparison) == found
    plain = msgspec.json.decode(encoded)
    assert set(plain) == {"schema", "old", "new", "verdict", "threshold", "differences", "cases"}
    assert set(plain["cases"][0]) == {"id", "verdict", "ratio", "why"}
