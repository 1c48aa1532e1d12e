from __future__ import annotations

import csv
import io

import pytest
from builders import make_case, make_failed, make_measurement, make_run
from hypothesis import given
from hypothesis import strategies as st
from runs import BROKEN, COUNTED, FAST, REFERENCE, SLOW

from stepbench.records.cases import XLA
from stepbench.records.run import Measurement
from stepbench.report.spreadsheet import summary_csv
from stepbench.report.summary import summarize

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda name: name.isprintable() and not set(name) & {"/", ","}
)


def rows_of(*measurements: Measurement) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(summary_csv(summarize(make_run(*measurements))))))


def test_a_line_for_each_case_with_full_precision() -> None:
    measurements = (REFERENCE, FAST, SLOW, BROKEN)
    rows, summary = rows_of(*measurements), summarize(make_run(*measurements))
    assert [row["id"] for row in rows] == [case.id for case in summary.cases]
    for row, case in zip(rows, summary.cases, strict=True):
        if case.throughput:
            bounds = (row["throughput"], row["throughput_low"], row["throughput_high"])
            assert tuple(map(float, bounds)) == (case.throughput.value, case.throughput.low, case.throughput.high)
    assert float(rows[0]["break_even_steps"]) == pytest.approx(200, rel=0.02)
    assert (rows[-1]["status"], rows[-1]["failure"], rows[-1]["message"]) == ("failed", "compile_error", "XLA said no.")
    assert rows[-1]["throughput"] == rows[-1]["speedup"] == ""


def test_efficiency_has_its_figures_in_full() -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(summary_csv(summarize(COUNTED))))}
    row, slow = (rows[make_case(*variant).id] for variant in (("graph", "mixed_bfloat16"), ("keras", "float32")))
    assert float(row["flops_utilization"]) == pytest.approx(0.25)
    assert float(row["flops_per_step"]) == 1e9
    assert float(row["break_even"]) == pytest.approx(200)
    assert float(row["epoch_s_low"]) == pytest.approx(1)
    assert row["energy_per_1000_examples_j"] == slow["break_even"] == ""


def test_one_replicate_has_a_value_and_no_bounds() -> None:
    (row,) = rows_of(make_measurement(make_case(), [0.5]))
    assert float(row["step_time_s"]) == pytest.approx(0.05)
    assert (row["step_time_s_low"], row["step_time_s_high"]) == ("", "")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", '=cmd|" !A0'])
def test_no_spreadsheet_gets_a_formula(name: str) -> None:
    rows = rows_of(
        make_measurement(make_case(name, workload=name), [0.1]), make_failed(make_case(XLA), message=f"\t{name}")
    )
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert (rows[0]["workload"], rows[0]["execution"], rows[1]["message"]) == (f"'{name}",) * 3


@given(names, st.text())
def test_it_is_read_back_whatever_the_names_and_messages(name: str, message: str) -> None:
    run = make_run(make_failed(make_case(name, workload=name), message=message))
    text = summary_csv(summarize(run))
    head, row = csv.reader(io.StringIO(text, newline=""))
    cells = dict(zip(head, row, strict=True))
    assert cells["workload"] == cells["execution"] == (f"'{name}" if name[0] in "=+-@" else name)
    assert "\x1b" not in text


def test_quotes_and_line_ends_stay_within_their_cell() -> None:
    (row,) = rows_of(make_failed(make_case('"a" b'), message='one\n"two"\r\nthree'))
    assert (row["execution"], row["message"]) == ('"a" b', 'one "two" three')
