"""Settings as values: what they may be, and how they stand in an id."""

from __future__ import annotations

import pytest
from builders import make_case
from hypothesis import given
from hypothesis import strategies as st

from stepbench.commands.case_names import choose_pair, matching
from stepbench.commands.options import settings
from stepbench.errors import StepbenchError
from stepbench.records.cases import Device, Selection, effective
from stepbench.records.settings import CATALOGUE, Setting


def test_an_id_has_settings_that_are_not_the_default_sorted_by_name() -> None:
    found = Selection(
        ("w",), ("graph",), steps_per_call=(20,), settings=settings("--setting", ["onednn=on,off", "intra_threads=2"])
    ).cases()
    assert [case.id for case in found[:4:3]] == [
        "w/graph/float32/cpu/b64/k20/intra_threads=2",
        "w/graph/mixed_bfloat16/cpu/b64/k20/intra_threads=2/onednn=off",
    ]


@pytest.mark.parametrize(
    ("value", "written"), [("a/b", "a%2Fb"), ("a,b", "a%2Cb"), ("a b", "a%20b"), ("50%", "50%25"), ("--x=1", "--x=1")]
)
def test_what_would_end_a_part_of_an_id_is_encoded(value: str, written: str) -> None:
    assert str(Setting("env:FLAG", value)) == f"env:FLAG={written}"


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20), min_size=1, unique=True))
def test_an_ids_values_can_be_given_back_to_the_option(values: list[str]) -> None:
    given_back = ",".join(str(Setting("env:X", value)).partition("=")[2] for value in values)
    ((*found,),) = settings("--setting", [f"env:X={given_back}"])
    assert [setting.value for setting in found] == values


@pytest.mark.parametrize(
    "text",
    [
        *("threads=2", "intra_threads=0", "intra_threads=two", "onednn=maybe", "malloc=mine", "intra_threads", "=1"),
        *("env:=1", "env:2X=1", "env:A B=1", "env:X=\x1b", "processors=-1", "tf32=", "env:X", "malloc=a,,b"),
    ],
)
def test_what_cannot_be_is_one_sentence(text: str) -> None:
    with pytest.raises(StepbenchError) as caught:
        settings("--setting", [text])
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


def test_a_setting_is_given_once() -> None:
    with pytest.raises(StepbenchError, match="each setting once"):
        settings("--setting", ["malloc=tcmalloc", "malloc=jemalloc"])


def test_a_cpu_has_none_of_a_gpus_settings_and_defaults_are_none() -> None:
    given_ones = [Setting("tf32", "off"), Setting("onednn", "on"), Setting("malloc", "default"), Setting("env:X", "")]
    assert effective(given_ones, Device.CPU) == (Setting("env:X", ""),)
    assert effective(given_ones, Device.GPU) == (Setting("env:X", ""), Setting("tf32", "off"))


def test_every_known_setting_has_a_default_and_something_else() -> None:
    for name, knob in CATALOGUE.items():
        assert Setting(name, "default").is_default
        assert knob.takes_number or knob.values
        for value in knob.values:
            assert not Setting(name, value).is_default


def test_cases_are_named_by_their_settings() -> None:
    plain = make_case()
    one, both = (
        make_case(settings=tuple(Setting(name, "1") for name in names))
        for names in (["intra_threads"], ["inter_threads", "intra_threads"])
    )
    cases = [both, one, plain]
    assert matching("intra_threads=1", cases) == [both, one]
    assert matching(plain.id, cases) == [plain]
    assert choose_pair("graph", "intra_threads=1", cases, cases, distinct=True) == (plain, one)
