from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbench.commands import options
from stepbench.commands.request import Request, measuring_request
from stepbench.errors import StepbenchError
from stepbench.records.cases import Device, Precision

LONG = "x" * 5000


def refusal(parse: Callable[[], object]) -> str:
    """The one line that ``parse`` is refused with."""
    with pytest.raises(StepbenchError) as refused:
        parse()
    (line,) = str(refused.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ("a",)), ("b,a", ("b", "a")), (" a , b ", ("a", "b")), ("a,a,b,a", ("a", "b")), ("שלום", ("שלום",))],
)
def test_names_keep_their_order_and_come_once(text: str, expected: tuple[str, ...]) -> None:
    assert options.names("--execution", text) == expected


@pytest.mark.parametrize("text", ["", ",", "a,", ",a", "a,,b", " ", "a, ,b"])
def test_an_empty_part_is_refused(text: str) -> None:
    assert refusal(lambda: options.names("--execution", text)) == (
        f"--execution {text!r} has an empty part: give names separated by commas."
    )


def test_choices_are_members_in_the_order_given() -> None:
    chosen = options.choices("--precision", "mixed_float16,float32,float32", Precision)
    assert chosen == (Precision.MIXED_FLOAT16, Precision.FLOAT32)


@pytest.mark.parametrize("text", ["tpu", "cpu,tpu", "CPU", "cpu;gpu", "cpu:0", "all"])
def test_an_unknown_choice_is_refused_with_the_known_ones(text: str) -> None:
    line = refusal(lambda: options.choices("--device", text, Device))
    assert line.startswith("--device knows no ")
    assert line.endswith(": use cpu, gpu.")


def test_numbers_are_whole_and_come_once() -> None:
    assert options.numbers("--batch-size", "64, 1,64,007,999999999") == (64, 1, 7, 999_999_999)


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "1e3", "0x10", "x", "64,zero", "000", "²", "٣", "1_000", "+1", "1000000000", "9" * 5000]
)
def test_what_is_no_number_from_one_on_is_refused(text: str) -> None:
    line = refusal(lambda: options.numbers("--batch-size", text))
    assert line.startswith("--batch-size takes whole numbers from 1 to ")
    assert len(line) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), (" 90 s ", 90), ("5m", 300), ("1.5m", 90), ("1h", 3600), ("0.25s", 0.25), ("007s", 7)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert options.duration("--budget", text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "0.0m", "-5m", "soon", "5d", "5 minutes", "m", "1m30s", "1e3", "nan", "inf", ".5s", "9" * 400],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    line = refusal(lambda: options.duration("--budget", text))
    assert line.startswith("--budget takes a time such as 90s, 5m or 1h, not ")
    assert len(line) < 200


@given(st.text(max_size=30))
def test_any_text_is_taken_or_refused_in_one_line(text: str) -> None:
    parsers: tuple[Callable[[], object], ...] = (
        lambda: options.names("--o", text),
        lambda: options.choices("--o", text, Precision),
        lambda: options.numbers("--o", text),
        lambda: options.duration("--o", text),
    )
    refusals = []
    for parse in parsers:
        try:
            assert parse()
        except StepbenchError as error:
            refusals.append(str(error))
    assert all(line.startswith("--o ") for line in refusals)
    assert [len(line.splitlines()) for line in refusals] == [1] * len(refusals)


@pytest.mark.parametrize("locator", ["cifar-cnn", "package.module:attribute"])
def test_names_of_workloads_and_modules_are_left_as_they_are(locator: str) -> None:
    assert options.workload_locator(locator) == locator
    assert options.plugin_locator("package.module") == "package.module"


def test_a_workloads_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with:colon").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", "with:colon/mine.py"):
        (tmp_path / name).write_text("")
        assert options.workload_locator(f"{name}:workload") == f"{tmp_path.resolve() / name}:workload"
        assert options.plugin_locator(name) == str(tmp_path.resolve() / name)


@pytest.mark.parametrize("locator", ["", "nope", ":", ":attribute", "module:", "cifar_cnn"])
def test_a_workload_that_cannot_be_found_is_refused_with_the_ways_to_name_one(locator: str) -> None:
    line = refusal(lambda: options.workload_locator(locator))
    assert f"There is no workload {locator!r}: use cifar-cnn, 'package.module:attribute', 'path/to/file.py:" in line


@pytest.mark.parametrize("name", ["missing.py", "folder.py", f"{LONG}.py", "/nowhere/mine.py", "\0.py", ".py"])
def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: options.plugin_locator(name)).startswith(f"There is no file {name}: give the path")
    assert refusal(lambda: options.workload_locator(f"{name}:workload")).startswith(f"There is no file {name}: give")


def test_a_file_that_may_not_be_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert refusal(lambda: options.plugin_locator("secret/mine.py")).startswith("There is no file secret/mine.py")


def test_the_default_request_is_three_executions_by_three_precisions_on_all_devices() -> None:
    assert measuring_request() == Request()
    assert measuring_request().devices is None
