"""How a terminal shows blocks, whatever report they are of."""

from __future__ import annotations

import io
import re

import pytest
from builders import ODD_NAMES
from rich.cells import cell_len
from rich.console import Console
from shown import ROOMY, printed

from stepbench.report.blocks import BOLD, DIM, Cell, Chapters, Head, Paragraph, Table, text_table
from stepbench.report.text import FILE_WIDTH, as_text, print_chapters

WIDTHS = (40, 60, 80, 120, 200)
HEADS = ("name", "figure", "because")
PROSE = ("name", "because")
LONG = "#" * 500
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-7]|9[0-7]|38)[0-9;]*m")


def report(*names: str) -> Chapters:
    """A report that has the names in every place that takes text."""
    rows = [(name, "1.00× [0.900, 1.10]", name) for name in names]
    noted = Table("notes", [Head("name", prose=True), Head("1")], [[Cell(name), Cell("2")] for name in names])
    return [
        [Paragraph(names[0], style=BOLD), text_table(HEADS, rows, PROSE, title=names[0], styles={0: "red"})],
        [noted, Paragraph(names[-1], names)],
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    text = printed(report(*ODD_NAMES, LONG), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert text.count("#") == 5 * len(LONG) + 4 * "".join(ODD_NAMES).count("#")
    assert "…" not in text


def test_names_are_printed_as_they_are() -> None:
    text = printed(report(*ODD_NAMES), ROOMY)
    assert [name for name in ODD_NAMES if text.count(name) < 4] == []


def test_control_characters_cannot_steer_the_terminal() -> None:
    text = printed(report("a\x1b[31m\nb", "\x07c\u202e"), ROOMY)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert len(text.splitlines()) == len(printed(report("a", "b"), ROOMY).splitlines())


def test_columns_stand_below_their_heads_figures_to_the_right() -> None:
    table = text_table(HEADS, [("速い車", "1.00", "a"), ("bb", "12", "so")], PROSE)
    lines = printed([[table]], 200).splitlines()
    assert lines == ["name    figure  because", "速い車    1.00  a", "bb          12  so"]


def test_figures_stay_whole_as_long_as_text_has_room() -> None:
    table = text_table(HEADS, [("x" * 50, "1.00× [0.900, 1.10]", "word " * 20)], PROSE)
    assert "1.00× [0.900, 1.10]" in printed([[table]], 60)
    narrow = printed([[table]], 40)
    assert "1.00× [0.900, 1.10]" not in narrow
    assert re.sub(r"\s", "", narrow).count("x") == 50


def test_an_empty_line_stands_between_chapters() -> None:
    chapters = [[Paragraph("one", ("point",))], [Paragraph("two"), Paragraph("", ())]]
    assert printed(chapters) == "one\n- point\n\ntwo\n"


def test_notes_are_numbered_and_marked_in_the_rows_that_they_are_about() -> None:
    notes = {"first": ["a", "b"], "second": ["b"]}
    text = printed([[Table("t", [Head("name", prose=True)], [[Cell(name)] for name in "abc"], notes=notes)]])
    assert text.splitlines() == ["t", "name  notes", "a     1", "b     1,2", "c", "1  first", "2  second"]


def test_styles_are_told_to_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    struck = Table("", [Head("a")], [[Cell("2", struck="why")]], styles={0: "red"})
    wide = Table("", [Head("a", prose=True), Head("b")], [[Cell(LONG), Cell("2")]], styles={0: "red"})

    def shown(table: Table) -> str:
        file = io.StringIO()
        print_chapters([[Paragraph("p", style=DIM), table]], Console(file=file, width=80, force_terminal=True))
        return file.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[2mp" in shown(struck)
    assert "\x1b[9;31m" in shown(struck)
    assert COLOUR.search(shown(wide))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(shown(wide) + shown(struck))
    assert "\x1b" not in as_text([[struck]])


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("", FILE_WIDTH), ("0", FILE_WIDTH), ("wide", FILE_WIDTH)])
def test_columns_sets_the_width_and_what_is_no_width_does_no_harm(
    columns: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_chapters(report(LONG))
    assert capsys.readouterr().out == printed(report(LONG), width)


def test_output_to_a_pipe_has_no_escape_codes_and_its_own_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    print_chapters(report(LONG))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) == FILE_WIDTH
    assert "\n".join(line.rstrip() for line in text.splitlines()) == as_text(report(LONG))
