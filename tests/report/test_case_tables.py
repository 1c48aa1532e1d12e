"""What a report tells from traces: where a step's milliseconds go, and the operations of one case."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from builders import make_case, make_failed, make_measurement, make_operation, make_plan, make_run, make_traced
from shown import printed, read

from stepbench.records.cases import EAGER, GRAPH, XLA, Tracing
from stepbench.records.run import Failure, FailureKind, Measurement
from stepbench.records.store import Run
from stepbench.records.trace import GAP, HOST
from stepbench.report.blocks import Chapters
from stepbench.report.case_summary import TOP_OPERATIONS, CaseSummary
from stepbench.report.report import chapters
from stepbench.report.summary import restricted, summarize

REFUSED = Failure(FailureKind.NOT_PROVED, "The trace: it marks no steps.")
GRAPH_CASE = make_traced(
    make_case(GRAPH),
    make_operation("Conv2D", 0.012, "forward", name="forward/conv2d/convolution", calls=3.0),
    make_operation("_MklNativeConv2DBackpropInput", 0.018, "backward"),
    make_operation("SparseSoftmaxCrossEntropyWithLogits", 0.0008, "loss"),
    make_operation("AssignSubVariableOp", 0.004, "update"),
    make_operation("ArgMax", 0.0008, "metrics"),
    make_operation(GAP, 0.0024, "backward", calls=0.0),
    make_operation(HOST, 0.002, calls=0.0),
    blocks=[[0.2, 0.2], [0.2, 0.2]],
    untraced_step_s=0.032,
)
EAGER_CASE = make_traced(make_case(EAGER), make_operation(HOST, 0.03, "update"), make_operation("Conv2D", 0.02))
UNTRACED = msgspec.structs.replace(make_measurement(make_case("keras"), [0.3], [0.3]), trace_failure=REFUSED)
BROKEN = make_failed(make_case(XLA), message="XLA said no.")
RUN = make_run(EAGER_CASE, GRAPH_CASE, UNTRACED, BROKEN)
TITLE = "cnn on cpu, batch size 64: where a step's milliseconds go"
# 40 ms traced, 20 ms timed, so every figure is half of the trace's.
GRAPH_ROW = ["graph/float32", "6.00", "0.400", "10.2", "2.00", "0.400", "1.00", "20.0", "+25 %"]
MOSTLY = "convolution 75 %, optimizer 10 %, gap 6 %"


def only_traced(*measurements: Measurement) -> Run:
    untimed = [msgspec.structs.replace(measurement, replicates=()) for measurement in measurements]
    plan = make_plan([measurement.case for measurement in untimed], replicates=0, tracing=Tracing())
    return make_run(*untimed, plan=plan)


def shown(run: Run, *, case: str | None = None, width: int | None = None) -> Chapters:
    """What is printed of a run, or of one case of it with its operations."""
    summary = summarize(run) if case is None else restricted(summarize(run), {case})
    return chapters(summary, width, operations=case is not None)


def terminal(run: Run, width: int = 160, *, case: str | None = None) -> str:
    return printed(shown(run, case=case, width=width), width)


def row_of(text: str, label: str) -> list[str]:
    """The last row of that label, cell by cell."""
    rows = [line for line in text.splitlines() if line.startswith(f"{label} ")]
    return re.split(r"\s{2,}", rows[-1].strip())


def case_of(run: Run, case_id: str) -> CaseSummary:
    return next(case for case in summarize(run).cases if case.id == case_id)


def test_json_has_the_profile_of_a_traced_case() -> None:
    report: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(case_of(RUN, GRAPH_CASE.case.id)))
    assert report["trace"] == "tensorboard/plugins/profile/cnn--graph--float32--cpu--b64"
    profile = report["profile"]
    assert set(profile) == {"step_s", "overhead", "parts", "categories", "operations"}
    assert (profile["step_s"], profile["overhead"]) == pytest.approx((0.020, 1.25))
    assert profile["parts"] == pytest.approx(
        {"forward": 0.006, "loss": 0.0004, "backward": 0.0102, "update": 0.002, "metrics": 0.0004, "": 0.001}
    )
    assert list(profile["categories"])[:2] == ["convolution", "optimizer"]
    assert sum(profile["categories"].values()) == pytest.approx(0.020)
    part, name, kind, calls, seconds = profile["operations"][1]
    assert (part, name, kind, calls) == ("forward", "forward/conv2d/convolution", "Conv2D", 3.0)
    assert seconds == pytest.approx(0.006)


def test_json_has_no_profile_where_there_is_no_trace_nor_a_failed_case_a_warning_of_it() -> None:
    for measurement in (UNTRACED, BROKEN):
        case = case_of(RUN, measurement.case.id)
        assert (case.trace, case.profile) == (None, None)
    failed = msgspec.structs.replace(BROKEN, trace_failure=REFUSED)
    assert case_of(make_run(failed, GRAPH_CASE), BROKEN.case.id).warnings == ()


def test_json_has_only_the_operations_that_take_longest() -> None:
    operations = [make_operation(f"Op{number}", 0.001 * number) for number in range(1, 2 * TOP_OPERATIONS)]
    case = case_of(make_run(make_traced(make_case(), *operations)), make_case().id)
    assert case.profile is not None
    assert [operation.kind for operation in case.profile.operations] == [
        f"Op{number}" for number in range(2 * TOP_OPERATIONS - 1, TOP_OPERATIONS - 1, -1)
    ]


def test_a_missing_trace_is_a_warning_with_its_reason() -> None:
    warning = "no trace: not_proved: The trace: it marks no steps."
    assert case_of(RUN, UNTRACED.case.id).warnings == ("2 replicates give no interval of the step time", warning)
    run = only_traced(GRAPH_CASE, UNTRACED)
    assert case_of(run, UNTRACED.case.id).warnings == (warning,)
    for text in (terminal(RUN, 160), terminal(RUN, 60), read(shown(RUN)).text, terminal(run, 160)):
        assert warning in " ".join(text.split())


@pytest.mark.parametrize("width", [130, 200])
def test_a_wide_terminal_shows_parts_what_tracing_costs_and_the_main_categories(width: int) -> None:
    text = terminal(RUN, width)
    assert TITLE in text
    assert row_of(text, "graph/float32")[: len(GRAPH_ROW)] == GRAPH_ROW
    assert [word for word in MOSTLY.replace(",", "").split() if word not in text] == []


@pytest.mark.parametrize("width", [85, 100])
def test_a_narrower_one_shows_the_parts(width: int) -> None:
    text = terminal(RUN, width)
    assert TITLE in text
    assert row_of(text, "graph/float32") == GRAPH_ROW[:-1]
    assert "traced" not in text


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_one_shows_times_only(width: int) -> None:
    text = terminal(RUN, width)
    assert "milliseconds" not in text
    assert "graph/float32" in text


def test_a_profile_has_rows_for_traced_cases_only_and_operations_for_one_case_alone() -> None:
    _, profiled = terminal(RUN, 160).partition("what to use")[0].split(TITLE)
    assert re.findall(r"^\w+/float32", profiled, re.MULTILINE) == ["graph/float32", "eager/float32"]
    run = make_run(UNTRACED, BROKEN)
    assert "milliseconds" not in terminal(run, 200)
    assert "calls" not in terminal(RUN, 200)


def test_markdown_has_a_table_of_times_and_one_of_profiles() -> None:
    times, (heads, *rows) = read(shown(RUN)).tables
    assert [row[0] for row in times] == [
        "case",
        *(f"{execution}/float32" for execution in (GRAPH, "keras", EAGER, XLA)),
    ]
    assert heads == [
        *("case", "forward", "loss", "backward", "update", "metrics", "outside", "in all", "traced", "mostly")
    ]
    assert rows == [
        [*GRAPH_ROW, MOSTLY],
        ["eager/float32", "0", "0", "0", "30.0", "0", "20.0", "50.0", "+0 %", "host 60 %, convolution 40 %"],
    ]


def test_a_profile_tells_batch_sizes_apart_as_the_table_of_times_does() -> None:
    untraced = make_measurement(make_case(GRAPH, batch_size=8), [0.1], [0.1])
    run = make_run(GRAPH_CASE, untraced)
    assert [table[1][0] for table in read(shown(run)).tables] == ["graph/float32/b64", "graph/float32/b64"]
    assert row_of(terminal(run, 160), "graph/float32/b64")[1:-1] == GRAPH_ROW[1:]


def test_a_run_that_was_only_traced_shows_profiles_only() -> None:
    run = only_traced(EAGER_CASE, GRAPH_CASE)
    assert {(case.status, case.step_time_s, case.warnings) for case in summarize(run).cases} == {("ok", None, ())}
    text = terminal(run, 160)
    assert row_of(text, "graph/float32")[-2] == "+25 %"
    assert "speed-up" not in text
    ((heads, *rows),) = read(shown(run)).tables
    assert heads[1] == "forward"
    assert {row[0]: row[7] for row in rows} == {"eager/float32": "50.0", "graph/float32": "32.0"}


def test_where_nothing_was_timed_a_case_without_a_trace_has_an_empty_row_and_its_reason() -> None:
    run = only_traced(GRAPH_CASE, UNTRACED)
    text = terminal(run, 160)
    (row,) = [line for line in text.splitlines() if line.startswith("keras/float32 ")]
    assert set(row.removeprefix("keras/float32").split()) == {"–", "1"}
    assert "1  no trace: not_proved: The trace: it marks no steps." in text
    (table,) = read(shown(run)).tables
    assert [row[0] for row in table[1:]] == ["graph/float32", "keras/float32"]


def test_one_case_is_reported_with_its_operations() -> None:
    text = terminal(RUN, 160, case=GRAPH_CASE.case.id)
    assert "eager" not in text
    head, operations = text.split(GRAPH_CASE.case.id)
    assert TITLE in head
    heads, *rows = [re.split(r"\s{2,}", line.strip()) for line in operations.splitlines() if line.strip()]
    assert heads == ["ms a step", "share", "calls", "part", "type", "operation"]
    assert rows[:2] == [
        ["9.00", "45 %", "1.00", "backward", *["_MklNativeConv2DBackpropInput"] * 2],
        ["6.00", "30 %", "3.00", "forward", "Conv2D", "forward/conv2d/convolution"],
    ]
    assert len(rows) == 7


def test_one_case_without_a_trace_is_reported_without_operations() -> None:
    text = terminal(RUN, 160, case=UNTRACED.case.id)
    assert row_of(text, "keras/float32")[1] == "30.0", "two replicates give no interval"
    assert "calls" not in text
