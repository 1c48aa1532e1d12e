"""What is printed of a run: the tables of its cases, their notes, and what to use."""

from __future__ import annotations

import re

import msgspec
import places
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_block, make_case, make_failed, make_measurement, make_run
from rich.cells import cell_len
from runs import BROKEN, COUNTED, CPU, FAST, REFERENCE, SLOW, WORK, counted
from shown import assert_tells, printed, read

from stepbench.judge.training import Equivalence, Verdict
from stepbench.records.cases import EAGER, XLA, Device
from stepbench.records.machine import Cpu, Environment
from stepbench.records.run import Attainable, Measurement
from stepbench.records.store import Run, Store
from stepbench.report import formats
from stepbench.report.html.report import page
from stepbench.report.markdown import markdown
from stepbench.report.report import chapters
from stepbench.report.summary import summarize

RUN = make_run(REFERENCE, FAST, SLOW, BROKEN)
LABELS = ("graph/mixed_bfloat16", "eager/float32", "keras/mixed_float16", "xla/float32")
GPU = Attainable(Device.GPU, {"float32": 300e12}, 4e12, name="NVIDIA H200", tensor_float_32=True)


def terminal(run: Run, width: int) -> str:
    return printed(chapters(summarize(run), width), width)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_case_has_its_label_and_its_speedup_at_every_width(width: int) -> None:
    run = make_run(REFERENCE, FAST, SLOW)
    text = terminal(run, width)
    for case, label in zip(summarize(run).cases, LABELS, strict=False):
        (row,) = (line for line in text.splitlines() if line.startswith(f"{label} "))
        assert formats.estimate(case.speedup, unit="×") in row


@pytest.mark.parametrize("width", [60, 80, 100, 130, 150, 160, 200])
def test_the_columns_shown_fit_the_terminal(width: int) -> None:
    lines = terminal(COUNTED, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len([line for line in lines if line.startswith("xla/float32 ")]) == 1
    failed = [line for line in terminal(RUN, width).splitlines() if "compile_error" in line]
    assert failed[0].split()[:3] == ["xla/float32", "compile_error", "1"]
    assert "XLA said no." in failed[1]


def test_odd_names_are_shown_as_they_are() -> None:
    for name in (*ODD_NAMES, "x" * 500, "- a", "1. a"):
        seconds = {EAGER: 0.2, name: 0.1, "other": 0.15}
        cases = [make_case(execution, workload=name) for execution in seconds]
        times = zip(cases, seconds.values(), strict=True)
        run = make_run(*(make_measurement(case, [time] * 2, [1.01 * time] * 2, [time]) for case, time in times))
        assert_tells(
            chapters(summarize(run)),
            f"{name} on cpu, batch size 64",
            f"{name} on cpu: what to use",
            f"{name}/float32: 2.00× [2.00, 2.00] as fast as eager/float32",
            f"{name}/float32 is 1.50× [1.50, 1.50] as fast as the next, other/float32",
        )


def test_a_wide_table_has_every_column() -> None:
    text = terminal(RUN, 200)
    for head in ("case", "ms a step", "examples a second", "speed-up", "first call", "pays back after", "peak memory"):
        assert head in text
    assert re.search(r"graph/mixed_bfloat16 .* 3\.00 s +200 steps +50\.0 MiB", text)
    assert re.search(r"keras/mixed_float16 .* never +50\.0 MiB", text)


def test_markdown_is_a_table_of_all_cases_failed_ones_last() -> None:
    page = read(chapters(summarize(RUN)))
    heads, *rows = page.rows
    assert [row[0] for row in rows] == list(LABELS)
    assert heads[:4] == ["case", "ms a step", "examples a second", "speed-up"]
    assert {len(row) for row in rows} == {len(heads)}
    assert rows[-1][1:] == ["failed: compile_error", *[""] * (len(heads) - 2)]
    assert "compile_error: XLA said no. (xla/float32)" in page.text


def test_a_warning_is_written_once_for_all_its_cases() -> None:
    run = make_run(*(make_measurement(make_case(name), [0.1]) for name in ("eager", "two")))
    text = terminal(run, 120)
    assert text.count("one replicate gives no interval") == 1
    assert len(re.findall(r"^(?:eager|two)/float32 .* 1 *$", text, re.MULTILINE)) == 2
    assert "one replicate gives no interval (eager/float32, two/float32)" in read(chapters(summarize(run))).text


def test_why_there_are_no_speedups_is_said_where_their_reference_has_no_time() -> None:
    said = "no speed-up, as eager/float32, which they are against, has no time here (graph/float32)"
    alone = make_run(make_measurement(make_case("graph"), [0.1], [0.1]))
    assert said in read(chapters(summarize(alone))).text
    both = make_run(*(make_measurement(make_case(name), [0.1], [0.1]) for name in ("eager", "graph")))
    assert "no speed-up" not in read(chapters(summarize(both))).text


def test_every_workload_device_batch_size_and_number_of_steps_is_told_apart() -> None:
    cases = [make_case(workload=workload, device=device) for workload in ("a", "b") for device in Device]
    text = terminal(make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases)), 120)
    for workload in ("a", "b"):
        for device in Device:
            assert f"{workload} on {device}, batch size 64" in text
    cases = [make_case(), make_case(batch_size=8), make_case(batch_size=8, steps_per_call=4)]
    text = terminal(make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases)), 120)
    assert "batch sizes as in the rows" in text
    for label in ("graph/float32/b64", "graph/float32/b8", "graph/float32/b8/k4"):
        assert re.search(rf"^{label} ", text, re.MULTILINE)


def test_the_heading_tells_the_machine_or_that_it_is_unknown() -> None:
    cpu = Cpu(model="Ampere | <Altra>", usable_cores=1.5)
    run = msgspec.structs.replace(RUN, environment=msgspec.structs.replace(ENVIRONMENT, cpu=cpu))
    assert_tells(chapters(summarize(run)), f"run {RUN.run_id} · Ampere | <Altra>, 1.5 cores", "· data synthetic")
    unknown = chapters(summarize(msgspec.structs.replace(RUN, environment=Environment())))
    assert_tells(unknown, "unknown CPU, unknown cores · TensorFlow ?")
    assert "None" not in printed(unknown)


def test_what_was_not_measured_yet_says_so_and_what_differs_has_its_speedup_struck_out() -> None:
    assert_tells(chapters(summarize(make_run(FAST, Measurement(make_case(XLA)), finished=None))), "not measured")
    assert (
        "not measured yet (xla/float32)" in read(chapters(summarize(make_run(FAST, Measurement(make_case(XLA)))))).text
    )
    summary = summarize(make_run(REFERENCE, FAST))
    wrong = Equivalence(Verdict.DIFFERENT, ("it drifts",))
    cases = tuple(msgspec.structs.replace(case, equivalence=wrong) for case in summary.cases if case.speedup)
    text = markdown(chapters(msgspec.structs.replace(summary, cases=cases)))
    assert re.search(r"graph/mixed\\_bfloat16 \| [^|~]+ \| [^|~]+ \| ~~2\.0\d× [^|]+~~ \| different \|", text)
    assert "converges different: it drifts" in text


def test_what_never_pays_back_and_what_may_never() -> None:
    _, efficiency = read(chapters(summarize(COUNTED))).tables
    column = efficiency[0].index("epochs to pay back")
    assert [(row[0], row[column]) for row in efficiency[1:]] == [
        ("graph/mixed_bfloat16", "2.00 [2.00, 2.00]"),
        ("eager/float32", formats.ABSENT),
        ("keras/float32", "never"),
    ]
    doubtful = counted("graph", "float32", 0.0199, 3.0)
    replicates = [
        msgspec.structs.replace(replicate, blocks=(make_block(0, 10 * seconds),))
        for replicate, seconds in zip(doubtful.replicates, (0.010, 0.029, 0.018), strict=True)
    ]
    doubtful = msgspec.structs.replace(doubtful, replicates=tuple(replicates))
    run = make_run(counted(EAGER, "float32", 0.02), doubtful, attainable=(CPU,))
    assert_tells(chapters(summarize(run)), ", never]")


def test_energy_has_a_column_where_it_was_counted_and_none_elsewhere() -> None:
    blocks = (make_block(energy_j=6.4), make_block(1, energy_j=6.4))
    burning = msgspec.structs.replace(make_measurement(make_case(), [], [], blocks=blocks), work=WORK)
    assert_tells(chapters(summarize(make_run(burning))), "J/1000 examples")
    assert "J/1000 examples" not in terminal(COUNTED, 200)


def test_how_close_cases_come_to_the_limit_is_told_at_most_widths_and_of_timed_cases_alone() -> None:
    for width in (80, 160):
        text = terminal(COUNTED, width)
        assert "how close to the limit" in text
        assert any(line.split()[:3] == ["graph/mixed_bfloat16", "100", "25"] for line in text.splitlines())
        assert text.count("xla/float32 ") == 1
    page = read(chapters(summarize(COUNTED)))
    assert page.tables[1][0][:4] == ["case", "GFLOP/s", "of peak", "FLOP a byte"]
    assert [row[2] for row in page.tables[1][1:]] == ["25 %", "25 %", "12 %"]
    uncounted = terminal(make_run(make_measurement(make_case(), [0.1], [0.1])), 200)
    assert "how close to the limit" not in uncounted
    assert "attained on" not in uncounted


def test_beneath_are_what_the_devices_attained_and_what_their_makers_publish() -> None:
    assert_tells(
        chapters(summarize(msgspec.structs.replace(COUNTED, attainable=(CPU, GPU)))),
        "attained on cpu: matrix products 200 GFLOP/s in float32, 400 GFLOP/s in bfloat16; memory 20.0 GB/s",
        "attained on gpu: matrix products 300 TFLOP/s in float32; memory 4.00 TB/s (float32 rounded to",
        "published for NVIDIA H200, dense: matrix products 494 TFLOP/s in float32, 990 TFLOP/s in bfloat16",
    )


def test_a_report_ends_with_what_to_use_and_why() -> None:
    run = make_run(REFERENCE, FAST)
    (what,) = summarize(run).recommendations
    said = [*what.headline.split(), *(word for text in what.why for word in ("-", *text.split()))]
    for width in (60, 160):
        assert terminal(run, width).split("cnn on cpu: what to use")[1].split() == said
    page = read(chapters(summarize(run))).text
    assert page.index("speed-up") < page.index("what to use") < page.index(what.headline) < page.index(what.why[0])


def test_the_run_of_the_readme_recommends_by_its_evidence() -> None:
    (what,) = summarize(Store(places.RESULTS).read("20261122-150828-4f90")).recommendations
    assert what.best == ("cifar-cnn/graph/mixed_bfloat16/cpu/b64",)
    assert what.headline == "graph/mixed_bfloat16: 6.83× [6.31, 7.39] as fast as eager/float32, equivalent"
    for evidence in (
        "mainly for host in update",
        "the next, graph/float32",
        "xla/float32 runs MaxPoolGrad without",
        "float16 is emulated",
    ):
        assert any(evidence in sentence for sentence in what.why)


def test_a_failure_that_a_message_would_spoil_is_text() -> None:
    message = "\x1b[31mred\x1b[0m | `tick` <script>alert(1)</script>\r\n"
    page = read(chapters(summarize(make_run(make_failed(make_case(XLA), message=message)))))
    assert "error: [31mred [0m | `tick` <script>alert(1)</script>" in page.text
    assert len(page.rows) == 2


def test_a_first_call_that_takes_no_longer_pays_back_at_once() -> None:
    quick = make_measurement(make_case("graph"), [0.1, 0.1], [0.1, 0.1])
    heads, row, *_ = read(chapters(summarize(make_run(REFERENCE, quick)))).rows
    assert row[heads.index("pays back after")] == "at once"


def test_how_a_workload_was_understood_is_said_on_every_report() -> None:
    run = make_run(REFERENCE)
    said = "train.py reached fit() after 3 s <i>"
    told = msgspec.structs.replace(run, plan=msgspec.structs.replace(run.plan, remarks=(said,)))
    assert said in terminal(told, 120)
    assert "train.py reached fit() after 3 s" in markdown(chapters(summarize(told)))
    shown = page(told, summarize(told))
    assert "train.py reached fit() after 3 s &lt;i&gt;" in shown
    assert said not in shown
    assert said not in terminal(run, 120)
