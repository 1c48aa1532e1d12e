from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stepbench
from stepbench.training.locate import import_user_module, is_script, load_workload
from stepbench.training.script import Script
from stepbench.training.workload import BUILT_IN_WORKLOADS

pytestmark = pytest.mark.tensorflow

DEFINES_WORKLOAD = """
import stepbench

ready = stepbench.Workload("mine", model=list, data=list)
training = stepbench.Training("mine", build=list)

def made():
    return ready

def takes(argument):
    return ready

def refuses():
    raise stepbench.StepbenchError("Not today.")

def fails():
    raise ValueError("no luck")

number = 3

def wrong():
    return "text"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's file; what its import leaves behind is cleared."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "my_workloads.py"
    file.write_text(DEFINES_WORKLOAD)
    yield file
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(locator: str) -> str:
    with pytest.raises(stepbench.StepbenchError) as caught:
        load_workload(locator)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("attribute", ["ready", "made", "training"])
def test_workload_is_found_in_a_file(attribute: str, mine: Path) -> None:
    assert load_workload(f"{mine}:{attribute}").name == "mine"


def test_workload_is_found_in_a_relative_file_and_in_a_module_of_the_working_folder(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine.parent)
    assert load_workload("my_workloads.py:ready").name == "mine"
    assert load_workload("my_workloads:ready").name == "mine"


@pytest.mark.parametrize("name", BUILT_IN_WORKLOADS)
def test_built_in_workload_is_found_by_its_name(name: str) -> None:
    assert load_workload(name).name == name


@pytest.mark.parametrize("locator", ["", "nosuch", "nosuch.module", ":ready", "file.py:"])
def test_locator_of_no_known_form_is_refused(locator: str) -> None:
    assert refusal(locator) == (
        f"There is no workload {locator!r}: use cifar-cnn, 'package.module:attribute', 'path/to/file.py:attribute' or "
        "'path/to/script.py'."
    )


MISSING = "takes() missing 1 required positional argument: 'argument'."
NO_WORKLOAD = "it must be a stepbench.Workload, a stepbench.Training or a callable that returns one."


@pytest.mark.parametrize(
    ("locator", "sentence"),
    [
        ("{mine}:absent", "{mine} has no attribute 'absent': name the workload it defines."),
        ("{mine}:number", "{mine}:number is a int: " + NO_WORKLOAD),
        ("{mine}:wrong", "{mine}:wrong is a str: " + NO_WORKLOAD),
        ("{mine}:fails", "Calling {mine}:fails raised ValueError: no luck."),
        ("{mine}:takes", "Calling {mine}:takes raised TypeError: " + MISSING),
        ("{mine}:refuses", "Not today."),
        ("{mine}.py:x", "There is no file {mine}.py: give the path of the Python file that defines it."),
        ("absent.module:x", "Importing absent.module raised ModuleNotFoundError: No module named 'absent'."),
    ],
)
def test_what_gives_no_workload_is_one_sentence(locator: str, sentence: str, mine: Path) -> None:
    assert refusal(locator.format(mine=mine)) == sentence.format(mine=mine)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent", "ModuleNotFoundError: No module named 'absent'."),
        ("def f(:", "SyntaxError: "),
        ("workload = 1 / 0", "ZeroDivisionError: division by zero."),
    ],
)
def test_file_that_does_not_import_is_one_sentence_however_often(code: str, reason: str, mine: Path) -> None:
    mine.write_text(code)
    for _ in range(2):  # What ran of it is not taken for the module.
        assert refusal(f"{mine}:workload").startswith(f"Importing {mine} raised {reason}")


def test_file_imports_its_neighbours(mine: Path) -> None:
    (mine.parent / "my_neighbour.py").write_text("NAME = 'from beside'")
    mine.write_text(
        "import my_neighbour, stepbench\nworkload = stepbench.Workload(my_neighbour.NAME, model=list, data=list)"
    )
    assert load_workload(f"{mine}:workload").name == "from beside"


def test_file_is_executed_once(mine: Path) -> None:
    assert import_user_module(str(mine)) is import_user_module(str(mine))
    assert import_user_module(str(mine.parent / "." / mine.name)) is import_user_module(str(mine))


def test_files_of_one_name_are_executed_once_each(mine: Path) -> None:
    twin = mine.parent / "other" / mine.name
    twin.parent.mkdir()
    twin.write_text("import dataclasses\n@dataclasses.dataclass\nclass Other:\n    number: int = 1")
    first, second = import_user_module(str(mine)), import_user_module(str(twin))
    assert first is not second
    assert import_user_module(str(mine)) is first
    assert import_user_module(str(twin)) is second
    assert second.Other() == second.Other(1)


@pytest.mark.parametrize(
    ("locator", "arguments"),
    [("a/train.py", ()), ("a/train.py --rate 0.1", ("--rate", "0.1")), ("train.py 'two words'", ("two words",))],
)
def test_script_is_named_by_its_file_and_takes_arguments(locator: str, arguments: tuple[str, ...]) -> None:
    script = load_workload(locator)
    assert isinstance(script, Script)
    assert (script.name, script.arguments) == ("train", arguments)


@pytest.mark.parametrize("locator", ["file.py:attribute", "module:attribute", "cifar-cnn", "", "--rate train.py"])
def test_what_names_an_attribute_is_no_script(locator: str) -> None:
    assert not is_script(locator)
