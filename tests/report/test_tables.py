from __future__ import annotations

import csv
import io
import re

import msgspec
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_phases, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import rendered
from rich.cells import cell_len
from rich.console import Console

from stepbench.records.cases import EAGER, XLA, Device
from stepbench.records.machine import Cpu, Environment
from stepbench.records.run import FailureKind, Measurement
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.markdown import escape, markdown
from stepbench.report.summary import summarize
from stepbench.report.spreadsheet import comma_separated
from stepbench.report.text import FILE_WIDTH, print_summary

WIDTHS = (60, 80, 120, 200)
NASTY_MESSAGE = '=HYPERLINK("x")\n\x1b[31mred\x1b[0m | `tick` <script>alert(1)</script>\r\n' + "x" * 300
REFERENCE = make_measurement(make_case(EAGER), [0.2, 0.2], [0.201, 0.2])
GRAPH = make_measurement(make_case("graph", "mixed_bfloat16"), [0.1, 0.1], [0.1, 0.101], phases=make_phases(3.0))
SLOW = make_measurement(make_case("keras", "mixed_float16"), [0.3, 0.3], [0.3, 0.301])
BROKEN = make_failed(make_case(XLA), FailureKind.COMPILE_ERROR, "XLA said no.")
RUN = make_run(REFERENCE, GRAPH, SLOW, BROKEN)
LABELS = ("graph/mixed_bfloat16", "eager/float32", "keras/mixed_float16", "xla/float32")

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda name: name.isprintable() and not set(name) & {"/", ","}
)


def named(*executions: str) -> Run:
    return make_run(REFERENCE, *(make_measurement(make_case(name), [0.1], [0.1]) for name in executions))


def terminal(run: Run, width: int) -> str:
    file = io.StringIO()
    print_summary(summarize(run), Console(file=file, width=width, highlight=False))
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("run", [RUN, named(*ODD_NAMES), named("x" * 500)], ids=["usual", "odd names", "a long name"])
def test_no_line_is_wider_than_the_terminal(run: Run, width: int) -> None:
    lines = terminal(run, width).splitlines()
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_case_has_its_label_and_its_speedup_at_every_width(width: int) -> None:
    run = make_run(REFERENCE, GRAPH, SLOW)
    lines = terminal(run, width).splitlines()
    for case, label in zip(summarize(run).cases, LABELS, strict=False):
        (row,) = (line for line in lines if line.startswith(f"{label} "))
        assert formats.estimate(case.speedup, unit="×") in row


@pytest.mark.parametrize("width", WIDTHS)
def test_a_label_of_500_characters_is_folded_not_cut(width: int) -> None:
    assert terminal(named("#" * 500), width).partition("what to use")[0].count("#") == 500


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_printed_as_they_are(name: str, width: int) -> None:
    text = terminal(named(name), width)
    # A narrow column may break the name between its words.
    assert [word for word in name.split(" ") if word not in text] == []
    assert name in text or width < 120


@pytest.mark.parametrize("width", WIDTHS)
def test_failed_cases_come_last_with_their_kind_and_their_reason_beneath(width: int) -> None:
    text = terminal(RUN, width)
    rows = [line for line in text.splitlines() if "compile_error" in line]
    assert len(rows) == 2
    assert "XLA said no." in rows[1]
    assert text.index("compile_error") > text.index("keras/")


def test_a_wide_table_has_every_column() -> None:
    text = terminal(RUN, 200)
    for head in ("case", "ms a step", "examples a second", "speed-up", "first call", "pays back after", "peak memory"):
        assert head in text
    assert re.search(r"graph/mixed_bfloat16 .* 3\.00 s +200 steps +50\.0 MiB", text)
    assert re.search(r"keras/mixed_float16 .* never +50\.0 MiB", text)


def test_a_warning_is_written_once_for_all_its_cases() -> None:
    text = terminal(make_run(*(make_measurement(make_case(name), [0.1]) for name in ("one", "two"))), 120)
    assert text.count("one replicate gives no interval") == 1
    assert len(re.findall(r"^(?:one|two)/float32 .* 1 *$", text, re.MULTILINE)) == 2


def test_each_workload_and_device_has_a_table() -> None:
    cases = [make_case(workload=workload, device=device) for workload in ("a", "b") for device in Device]
    text = terminal(make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases)), 120)
    for workload in ("a", "b"):
        for device in Device:
            assert f"{workload} on {device}, batch size 64" in text


def test_batch_sizes_and_steps_per_call_tell_rows_apart() -> None:
    cases = (make_case(), make_case(batch_size=8), make_case(batch_size=8, steps_per_call=4))
    text = terminal(make_run(*(make_measurement(case, [0.1], [0.1]) for case in cases)), 120)
    assert "batch sizes as in the rows" in text
    for label in ("graph/float32/b64", "graph/float32/b8", "graph/float32/b8/k4"):
        assert re.search(rf"^{label} ", text, re.MULTILINE)


def test_a_machine_of_which_nothing_is_known_is_called_unknown() -> None:
    run = msgspec.structs.replace(RUN, environment=Environment())
    assert "unknown CPU, unknown cores · TensorFlow ?" in terminal(run, 200)
    assert "None" not in terminal(run, 200)


def test_a_case_that_was_not_measured_yet_says_so() -> None:
    run = make_run(GRAPH, Measurement(make_case(XLA)), finished=None)
    assert "not measured" in terminal(run, 200)


def test_output_to_a_pipe_has_no_escape_codes_and_its_own_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    run = make_run(REFERENCE, make_failed(make_case(XLA), message=NASTY_MESSAGE))
    print_summary(summarize(run))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(cell_len(line) for line in text.splitlines()) == FILE_WIDTH


@pytest.mark.parametrize("width", WIDTHS)
def test_columns_sets_the_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(summarize(RUN))
    assert capsys.readouterr().out == terminal(RUN, width)


@pytest.mark.parametrize("columns", ["", "0", "wide", "-5"])
def test_columns_that_are_no_width_do_no_harm(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_summary(summarize(RUN))
    assert capsys.readouterr().out == terminal(RUN, FILE_WIDTH)


COLOUR = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-7]|9[0-7]|38)[0-9;]*m")


def test_no_color_takes_the_colours_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> str:
        file = io.StringIO()
        print_summary(summarize(RUN), Console(file=file, width=80, force_terminal=True, highlight=False))
        return file.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert COLOUR.search(printed())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(printed())


def test_markdown_renders_as_a_table_of_all_cases() -> None:
    page = rendered(markdown(summarize(RUN)))
    heads, *rows = page.rows
    assert [row[0] for row in rows] == list(LABELS)
    assert heads[:4] == ["case", "ms a step", "examples a second", "speed-up"]
    assert {len(row) for row in rows} == {len(heads)}
    assert rows[-1][1] == "failed: compile_error"
    assert "compile_error: XLA said no. (xla/float32)" in page.text


@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 500])
def test_markdown_shows_odd_names_as_they_are(name: str) -> None:
    run = make_run(make_measurement(make_case(name, workload=name), [0.1]))
    page = rendered(markdown(summarize(run)))
    heads, row = page.rows
    assert row[0] == f"{name}/float32"
    assert len(row) == len(heads)
    assert f"{name} on cpu, batch size 64" in page.text
    assert f"one replicate gives no interval ({name}/float32)" in page.text
    assert page.tags == {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


@settings(deadline=None)
@given(names)
def test_markdown_shows_any_name_as_it_is(name: str) -> None:
    page = rendered(markdown(summarize(named(name))))
    assert {len(row) for row in page.rows} == {len(page.rows[0])}
    assert " ".join(f"{name}/float32".split()) in [row[0] for row in page.rows]
    assert not page.tags & {"script", "img", "a", "em", "code", "del"}


def test_markdown_has_no_raw_html_or_escape_codes_of_a_message() -> None:
    text = markdown(summarize(make_run(make_failed(make_case(XLA), message=NASTY_MESSAGE))))
    assert "\x1b" not in text
    assert "<script" not in text
    page = rendered(text)
    assert "<script>alert(1)</script>" in page.text
    assert len(page.rows) == 2


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a|b", "a\\|b"), ("<b>", "&lt;b&gt;"), ("`x`", "\\`x\\`"), ("a\nb", "a b"), ("&amp;", "&amp;amp;")],
)
def test_escape_writes_what_markdown_would_interpret(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def rows_of(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(comma_separated(summarize(run)))))


def test_csv_has_a_line_for_each_case_with_full_precision() -> None:
    rows = rows_of(RUN)
    summary = summarize(RUN)
    assert [row["id"] for row in rows] == [case.id for case in summary.cases]
    for row, case in zip(rows, summary.cases, strict=True):
        if case.throughput:
            bounds = (row["throughput"], row["throughput_low"], row["throughput_high"])
            assert tuple(map(float, bounds)) == (case.throughput.value, case.throughput.low, case.throughput.high)
    assert float(rows[0]["break_even_steps"]) == pytest.approx(200, rel=0.02)
    assert (rows[-1]["status"], rows[-1]["failure"], rows[-1]["message"]) == ("failed", "compile_error", "XLA said no.")
    assert rows[-1]["throughput"] == rows[-1]["speedup"] == ""


def test_csv_of_one_replicate_has_a_value_and_no_bounds() -> None:
    (row,) = rows_of(make_run(make_measurement(make_case(), [0.5])))
    assert float(row["step_time_s"]) == pytest.approx(0.05)
    assert (row["step_time_s_low"], row["step_time_s_high"]) == ("", "")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", '=cmd|" !A0'])
def test_csv_gives_no_spreadsheet_a_formula(name: str) -> None:
    case = make_case(name, workload=name)
    rows = rows_of(make_run(make_measurement(case, [0.1]), make_failed(make_case(XLA), message=f"\t{name}")))
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert (rows[0]["workload"], rows[0]["execution"], rows[1]["message"]) == (f"'{name}",) * 3


@given(names, st.text())
def test_csv_is_read_back_whatever_the_names_and_messages(name: str, message: str) -> None:
    text = comma_separated(summarize(make_run(make_failed(make_case(name, workload=name), message=message))))
    head, row = csv.reader(io.StringIO(text, newline=""))
    cells = dict(zip(head, row, strict=True))
    assert cells["workload"] == cells["execution"] == (f"'{name}" if name[0] in "=+-@" else name)
    assert "\x1b" not in text


def test_csv_keeps_quotes_and_line_ends_within_their_cell() -> None:
    rows = rows_of(make_run(make_failed(make_case('"a" b'), message='one\n"two"\r\nthree')))
    assert [row["execution"] for row in rows] == ['"a" b']
    assert rows[0]["message"] == 'one "two" three'


@pytest.mark.parametrize("text", [NASTY_MESSAGE, "a\tb\n\nc", "\u202eabc", "\x9b31mx", "\u2028", "שלום"])
def test_plain_text_is_one_line_without_control_characters(text: str) -> None:
    plain = formats.plain(text)
    assert plain.isprintable()
    assert "".join(plain.split()) == "".join(character for character in text if character.isprintable()).replace(
        " ", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123456, "0.00123"),
        (0.5, "0.500"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.5, "1 234"),
        (1e6, "1 000 000"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 µs"), (25e-6, "25.0 µs"), (0.48, "480 ms"), (2.31, "2.31 s"), (None, "–")]
)
def test_seconds_have_a_unit_that_fits(value: float | None, text: str) -> None:
    assert formats.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (2048, "2.00 KiB"), (140_000_000, "134 MiB"), (None, "–")]
)
def test_sizes_have_a_unit_that_fits(value: float | None, text: str) -> None:
    assert formats.size(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.2, "1 step"), (1.6, "2 steps"), (1234.4, "1 234 steps")])
def test_steps_are_whole_and_at_least_one(value: float, text: str) -> None:
    assert formats.steps(value) == text


def test_a_share_is_a_percentage() -> None:
    assert (formats.share(0.123), formats.share(0.0), formats.share(None)) == ("12 %", "0 %", "–")


def test_the_cpu_of_the_heading_is_the_runs() -> None:
    cpu = Cpu(model="Ampere | <Altra>", usable_cores=1.5)
    run = msgspec.structs.replace(RUN, environment=msgspec.structs.replace(ENVIRONMENT, cpu=cpu))
    assert "Ampere | <Altra>, 1.5 cores" in terminal(run, 200)
    assert "Ampere | <Altra>, 1.5 cores" in rendered(markdown(summarize(run))).text
