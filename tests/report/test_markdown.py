"""How markdown shows blocks, whatever report they are of."""

from __future__ import annotations

import pytest
from builders import ODD_NAMES
from hypothesis import given, settings
from hypothesis import strategies as st
from shown import TAGS, read

from stepbench.report.blocks import BOLD, Cell, Chapters, Head, Paragraph, Table
from stepbench.report.markdown import escape, markdown

NASTY = '=HYPERLINK("x")\n\x1b[31mred\x1b[0m | `tick` <script>alert(1)</script>\r\n' + "x" * 300
LISTS = ("- a", "+ a", "1. a", "12) a", "> a", "# a", "---", "- - -", "+5.2 %", "    code")
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda name: bool(name.split()))


def report(name: str) -> Chapters:
    """A report that has the name in every place that takes text."""
    heads = [Head(f"h {name}", prose=True), Head("figure")]
    table = Table(f"t {name}", heads, [[Cell(name), Cell(name)]], notes={name: [name]})
    return [[Paragraph(name, style=BOLD), table], [Paragraph(name, (name,)), Paragraph("", ())]]


@pytest.mark.parametrize("name", [*ODD_NAMES, *LISTS, "x" * 500])
def test_text_is_shown_as_it_is_in_every_place(name: str) -> None:
    page, plain = read(report(name)), " ".join(name.split())
    assert page.tables == [[[f"h {plain}", "figure"], [plain, plain]]]
    assert page.text.split("\n")[0] == plain
    assert page.text.count(plain) >= 8
    assert page.tags == TAGS


@settings(deadline=None, max_examples=30)
@given(names.filter(str.isprintable))
def test_any_name_is_shown_as_it_is(name: str) -> None:
    page, plain = read(report(name)), " ".join(name.split())
    assert page.rows[1] == [plain, plain]
    assert page.tags == TAGS


def test_a_message_brings_no_html_no_escape_codes_and_no_lines_of_its_own() -> None:
    text = markdown(report(NASTY))
    assert "<script" not in text
    page = read(report(NASTY))
    assert page.text.count("<script>alert(1)</script>") == 9
    assert len(page.rows) == 2


def test_blocks_are_apart_text_to_the_left_and_what_does_not_count_struck_out() -> None:
    table = Table("", [Head("a", prose=True), Head("b")], [[Cell("x"), Cell("1", struck="why")]])
    chapters: Chapters = [[Paragraph("bold", style=BOLD), table], [Paragraph("last", ("one", "two"))]]
    assert markdown(chapters) == ("**bold**\n\n| a | b |\n| :-- | --: |\n| x | ~~1~~ |\n\nlast\n\n- one\n- two\n")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a|b", "a\\|b"), ("<b>", "&lt;b&gt;"), ("`x`", "\\`x\\`"), ("a\nb", "a b"), ("&amp;", "&amp;amp;")],
)
def test_escape_writes_what_markdown_would_interpret(text: str, escaped: str) -> None:
    assert escape(text) == escaped
