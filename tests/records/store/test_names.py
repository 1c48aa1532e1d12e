from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stepbench.records.store import slug

ODD_TEXTS = (
    *("../../x", "..-..-x", "../..", "..", ".", "", "/", "//", "-", "--", "a/b", "a-b", "a--b", "a/-b", "a-/b", "a b"),
    *("x" * 500, "x" * 501, "<script>alert(1)</script>", "\u202eabc", "\u202dabc", "abc", "ABC", "a\nb", "a\0b"),
    *("é", "e\u0301", "ж", "漢字", "a~b", "-a", "a.", "a", "~", "*", "$HOME", "CON"),
)


def test_slugs_are_file_names_and_distinct() -> None:
    slugs = [slug(text) for text in ODD_TEXTS]
    assert len(set(slugs)) == len(ODD_TEXTS)


@given(st.text())
def test_a_slug_is_a_file_name(text: str) -> None:
    name = slug(text)
    assert Path(name).name == name
    assert not name.startswith((".", "-"))
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= 100
    assert not set(name) & set("/ \\<>:\"|?*'$&;")


@given(st.text("a-/.~"), st.text("a-/.~"))
def test_slugs_of_two_texts_differ(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


def test_a_usual_case_stays_readable() -> None:
    assert slug("cifar-cnn/graph/mixed_bfloat16/cpu/b64") == "cifar-cnn--graph--mixed_bfloat16--cpu--b64"
