"""What reports say of how close cases come to what their device attains."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest
from builders import (
    STEPS,
    make_block,
    make_case,
    make_closing,
    make_failed,
    make_measurement,
    make_phases,
    make_run,
)
from pages import rendered
from rich.cells import cell_len
from rich.console import Console

from stepbench.records.cases import EAGER, XLA, Device
from stepbench.records.run import Attainable, Failure, FailureKind, Measurement, Work
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.markdown import markdown
from stepbench.report.summary import CaseSummary, summarize
from stepbench.report.spreadsheet import comma_separated
from stepbench.report.text import FILE_WIDTH, print_summary

CPU = Attainable(Device.CPU, {"float32": 200e9, "bfloat16": 400e9}, 20e9)
GPU = Attainable(Device.GPU, {"float32": 300e12}, 4e12, name="NVIDIA H200", tensor_float_32=True)
WORK = Work(flops=1e9, bytes=1e8, examples=6400)
MEBIBYTE = 2**20
PEAKS = {"build": 20 * MEBIBYTE, "first call": 60 * MEBIBYTE, "steps": 50 * MEBIBYTE}


def measured(execution: str, precision: str, step_s: float, first_call_s: float = 1.0) -> Measurement:
    made = make_measurement(
        make_case(execution, precision),
        *[[STEPS * step_s] * 2] * 3,
        phases=make_phases(first_call_s),
        closing=make_closing(peaks_bytes=PEAKS),
    )
    return msgspec.structs.replace(made, work=WORK)


REFERENCE = measured(EAGER, "float32", 0.02)
FAST = measured("graph", "mixed_bfloat16", 0.01, 3.0)
SLOW = measured("keras", "float32", 0.04)
RUN = make_run(REFERENCE, FAST, SLOW, make_failed(make_case(XLA)), attainable=(CPU,))


def case_of(run: Run, measurement: Measurement) -> CaseSummary:
    return next(case for case in summarize(run).cases if case.id == measurement.case.id)


def terminal(run: Run, width: int) -> str:
    file = io.StringIO()
    print_summary(summarize(run), Console(file=file, width=width, highlight=False))
    return file.getvalue()


def test_a_summary_holds_a_case_against_its_device() -> None:
    case = case_of(RUN, FAST)
    assert (case.flops_per_step, case.bytes_per_step) == (1e9, 1e8)
    assert case.flops_utilization == pytest.approx(0.25)
    assert case.arithmetic_intensity == pytest.approx(10)
    assert case.roofline_flops == pytest.approx(200e9)
    assert case.memory_by_phase == PEAKS


def test_a_summary_has_the_break_even_in_steps_epochs_and_seconds() -> None:
    case = case_of(RUN, FAST)
    # 2 s against 10 ms a step, with 100 steps an epoch.
    assert case.break_even is not None
    assert case.break_even_epochs is not None
    assert case.break_even_s is not None
    assert case.break_even_steps == case.break_even.value == pytest.approx(200)
    assert case.break_even_epochs.value == pytest.approx(2)
    assert case.break_even_s.value == pytest.approx(2)
    assert case.epoch_s is not None
    assert case.epoch_s.value == pytest.approx(1)


def test_what_never_pays_back_is_null_in_the_summary_and_never_in_the_tables() -> None:
    case = case_of(RUN, SLOW)
    assert (case.break_even, case.break_even_steps, case.break_even_epochs, case.break_even_s) == (None,) * 4
    _, efficiency = rendered(markdown(summarize(RUN))).tables
    column = efficiency[0].index("epochs to pay back")
    assert {row[0]: row[column] for row in efficiency} | {"case": ""} == {
        "case": "",
        "graph/mixed_bfloat16": "2.00 [2.00, 2.00]",
        "eager/float32": formats.ABSENT,
        "keras/float32": "never",
    }


def test_what_may_never_pay_back_says_so() -> None:
    doubtful = measured("graph", "float32", 0.0199, 3.0)
    replicates = [
        msgspec.structs.replace(replicate, blocks=(make_block(0, STEPS * seconds),))
        for replicate, seconds in zip(doubtful.replicates, (0.010, 0.029, 0.018), strict=True)
    ]
    run = make_run(REFERENCE, msgspec.structs.replace(doubtful, replicates=tuple(replicates)), attainable=(CPU,))
    found = case_of(run, doubtful).break_even
    assert found is not None
    assert found.low is not None
    assert found.high is None
    assert ", never]" in terminal(run, FILE_WIDTH)


def test_energy_has_a_column_where_it_was_counted_and_none_elsewhere() -> None:
    blocks = (make_block(energy_j=6.4), make_block(1, energy_j=6.4))
    counted = msgspec.structs.replace(make_measurement(make_case(), [], [], blocks=blocks), work=WORK)
    found = case_of(make_run(counted), counted).energy_per_1000_examples_j
    assert found is not None
    assert found.value == pytest.approx(10)
    assert "J/1000 examples" in terminal(make_run(counted), 200)
    assert "J/1000 examples" not in terminal(RUN, 200)


def test_an_uncounted_case_says_why() -> None:
    failure = Failure(FailureKind.ERROR, "The step has a loop of unknown length: give the loop maximum_iterations.")
    uncounted = msgspec.structs.replace(FAST, work=None, work_failure=failure)
    run = make_run(REFERENCE, uncounted, attainable=(CPU,))
    case = case_of(run, uncounted)
    assert (case.flops_per_step, case.flops_utilization, case.epoch_s, case.break_even_epochs) == (None,) * 4
    assert case.break_even_steps == pytest.approx(200)
    assert any("a loop of unknown length" in warning for warning in case.warnings)


@pytest.mark.parametrize("width", [60, 80, 100, 130, 150, FILE_WIDTH, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    lines = terminal(RUN, width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert not [line for line in lines if "…" in line]


@pytest.mark.parametrize("width", [80, FILE_WIDTH])
def test_the_terminal_shows_the_share_of_the_peak(width: int) -> None:
    text = terminal(RUN, width)
    assert "how close to the limit" in text
    assert any(line.split()[:3] == ["graph/mixed_bfloat16", "100", "25"] for line in text.splitlines())


def test_a_failed_case_has_no_row_of_its_own_among_the_shares() -> None:
    assert terminal(RUN, FILE_WIDTH).count("xla/float32 ") == 1


def test_runs_without_counts_have_no_such_table() -> None:
    text = terminal(make_run(make_measurement(make_case(), [0.1], [0.1])), 200)
    assert "how close to the limit" not in text
    assert "attained on" not in text


@pytest.mark.parametrize("shown", ["terminal", "markdown"])
def test_beneath_are_what_the_devices_attained_and_what_their_makers_publish(shown: str) -> None:
    run = msgspec.structs.replace(RUN, attainable=(CPU, GPU))
    text = rendered(markdown(summarize(run))).text if shown == "markdown" else terminal(run, 200)
    assert "attained on cpu: matrix products 200 GFLOP/s in float32, 400 GFLOP/s in bfloat16; memory 20.0 GB/s" in text
    assert "attained on gpu: matrix products 300 TFLOP/s in float32; memory 4.00 TB/s (float32 rounded to" in text
    assert "published for NVIDIA H200, dense: matrix products 494 TFLOP/s in float32, 990 TFLOP/s in bfloat16" in text


def test_markdown_has_the_table_too() -> None:
    page = rendered(markdown(summarize(RUN)))
    assert page.tables[1][0][:4] == ["case", "GFLOP/s", "of peak", "FLOP a byte"]
    assert [row[2] for row in page.tables[1][1:]] == ["25 %", "25 %", "12 %"]


def test_csv_has_the_figures_in_full() -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(comma_separated(summarize(RUN))))}
    row = rows[FAST.case.id]
    assert float(row["flops_utilization"]) == pytest.approx(0.25)
    assert float(row["flops_per_step"]) == 1e9
    assert float(row["break_even"]) == pytest.approx(200)
    assert float(row["epoch_s_low"]) == pytest.approx(1)
    assert row["energy_per_1000_examples_j"] == rows[SLOW.case.id]["break_even"] == ""


@pytest.mark.parametrize(
    ("value", "text"), [(2.5, "2.50 B/s"), (2.5e6, "2.50 MB/s"), (213e9, "213 GB/s"), (4.8e12, "4.80 TB/s")]
)
def test_rates_have_a_prefix_that_fits(value: float, text: str) -> None:
    assert formats.rate(value, "B") == text
