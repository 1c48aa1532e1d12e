from __future__ import annotations

import re

import pytest
from builders import ODD_NAMES, make_case, make_operation, make_run, make_traced
from pages import rendered
from rich.cells import cell_len

from stepbench.records.cases import EAGER, GRAPH
from stepbench.records.run import Measurement
from stepbench.records.trace import GAP, HOST
from stepbench.report.explain import Explained, explained, headline, markdown, print_explanation, traced

A = make_traced(
    make_case(EAGER),
    make_operation(HOST, 0.030, "update", calls=0.0),
    make_operation("Conv2D", 0.020, "forward", calls=3.0),
    make_operation("Cast", 0.00015, "forward"),
    make_operation("Relu", 0.00015, "forward"),
)
B = make_traced(
    make_case(GRAPH),
    make_operation("_MklNativeFusedConv2D", 0.012, "forward", calls=3.0),
    make_operation("MatMul", 0.007),
    make_operation(GAP, 0.001, "backward", calls=0.0),
)
ROWS = [
    ["-30.0", "host", "update", "30.0", "0", "", ""],
    ["-8.00", "convolution", "forward", "20.0", "12.0", "3 → 3", "Conv2D"],
    ["+7.00", "matrix product", "outside", "0", "7.00", "0 → 1", "MatMul"],
    ["-0.300", "2 smaller ones", "", "0.300", "0", "", ""],
    ["+1.00", "unexplained (3 %)", "", "", "", "", ""],
    ["-30.3", "in all", "", "50.3", "20.0", "5 → 4", ""],
]
NASTY = "<script>alert(1)</script> | `x` \x1b[31mred [red]y[/red]"
TAGS = {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


def explain(a: Measurement, b: Measurement) -> Explained:
    run = make_run(a, b)
    return explained(traced(run, a), traced(run, b))


def printed(what: Explained, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    print_explanation(what)
    return capsys.readouterr().out


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_terminal_shows_the_headline_what_a_and_b_are_a_row_each_and_advice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = explain(A, B)
    first, legend, heads, *lines = printed(what, 160, capsys, monkeypatch).splitlines()
    assert first == headline(what)
    assert legend == f"A is {A.case.id}, B is {B.case.id}; + where B takes longer."
    assert cells(heads) == ["ms a step", "work", "part", "A", "B", "operations", "mostly"]
    assert [cells(line) for line in lines[: len(ROWS)]] == [[cell for cell in row if cell] for row in ROWS]
    assert lines[len(ROWS) :] == [f"- {advice}" for advice in what.advice]
    assert len(what.advice) == 2


def test_markdown_shows_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    what = explain(A, B)
    page = rendered(markdown(what))
    ((heads, *rows),) = page.tables
    assert heads == ["ms a step", "work", "part", "A", "B", "operations", "mostly"]
    assert rows == ROWS
    assert page.text.startswith(headline(what))
    assert page.tags == TAGS
    for note in what.advice:
        assert note in page.text
        assert note in printed(what, 200, capsys, monkeypatch)


def test_a_doubt_is_printed_before_advice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    doubtful = make_traced(make_case(GRAPH), blocks=[[0.001]], untraced_step_s=0.01)
    what = explain(A, doubtful)
    (doubt,) = what.doubts
    assert what.advice
    for text in (printed(what, 200, capsys, monkeypatch), rendered(markdown(what)).text):
        assert text.index(doubt) < text.index(what.advice[0])


def test_a_difference_of_nothing_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    what = explain(B, make_traced(make_case(EAGER), *(B.trace.operations if B.trace else ())))
    text = printed(what, 120, capsys, monkeypatch)
    assert "graph/float32 is 0 ms a step faster than eager/float32: 20.0 against 20.0 ms" in text
    assert "unexplained (0 %)" in text
    assert "smaller ones" not in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 300])
def test_no_line_is_wider_than_the_terminal_and_odd_names_are_printed(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = make_traced(make_case(name), make_operation("Conv2D", 0.001))
    text = printed(explain(A, odd), width, capsys, monkeypatch)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert [word for word in name.split(" ") if word not in text.replace("\n", "")] == []


@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 300])
def test_markdown_shows_odd_names_as_they_are(name: str) -> None:
    odd = make_traced(make_case(name, workload=name), make_operation("Conv2D", 0.001), make_operation(HOST, 0.01))
    what = explain(A, odd)
    page = rendered(markdown(what))
    assert page.text.startswith(headline(what))
    assert [note for note in what.advice if note not in page.text] == []
    assert odd.case.id in what.advice[-1]
    assert page.tags == TAGS


def test_an_operations_hostile_type_is_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = make_traced(make_case(GRAPH), make_operation(NASTY, 0.010, "forward"))
    what = explain(A, hostile)
    page = rendered(markdown(what))
    plain = "<script>alert(1)</script> | `x` [31mred [red]y[/red]"
    assert [row[-1] for row in page.rows].count(plain) == 1
    assert page.tags == TAGS
    text = printed(what, 200, capsys, monkeypatch)
    assert "\x1b" not in text + markdown(what)
    assert plain in text
