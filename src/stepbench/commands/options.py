"""Command-line texts turned into values; every refusal is one sentence."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from stepbench.errors import StepbenchError
from stepbench.records.cases import Device
from stepbench.records.settings import ENVIRONMENT, Setting
from stepbench.training.workload import BUILT_IN_WORKLOADS

_Choice = TypeVar("_Choice", bound=StrEnum)
_Value = TypeVar("_Value")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*(%?)")
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
ALL_DEVICES = "all"
BATCH_SIZE = "batch-size"
MOST_DIGITS = 9
"""Of a number that still means something; longer ones overflow in TensorFlow, or even in Python."""
LONGEST_S = 1e9


def names(option: str, text: str) -> tuple[str, ...]:
    """A comma list.

    Raises:
        StepbenchError: when it or a part of it is empty.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise StepbenchError(f"{option} {text!r} has an empty part: give names separated by commas.")
    return tuple(dict.fromkeys(parts))


def choices(option: str, text: str, kind: type[_Choice]) -> tuple[_Choice, ...]:
    """A comma list of known words.

    Raises:
        StepbenchError: when one is not known.
    """
    known = {member.value: member for member in kind}
    for name in names(option, text):
        if name not in known:
            raise StepbenchError(f"{option} knows no {name!r}: use {', '.join(known)}.")
    return tuple(known[name] for name in names(option, text))


def devices(option: str, text: str) -> tuple[Device, ...] | None:
    """A comma list of devices; None for all that are present.

    Raises:
        StepbenchError: when one is not known.
    """
    return None if text == ALL_DEVICES else choices(option, text, Device)


def numbers(option: str, text: str) -> tuple[int, ...]:
    """A comma list of whole numbers from 1 to a billion.

    Raises:
        StepbenchError: when one is none.
    """
    for part in names(option, text):
        if not part.isascii() or not part.isdigit() or not 1 <= len(part.lstrip("0")) <= MOST_DIGITS:
            raise StepbenchError(f"{option} takes whole numbers from 1 to {'9' * MOST_DIGITS}, not {part[:80]!r}.")
    return tuple(dict.fromkeys(int(part) for part in names(option, text)))


def optional_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """A comma list of whole numbers from 1 to a billion, or none.

    Raises:
        StepbenchError: when one is none.
    """
    return () if text is None else numbers(option, text)


def at_least_one(option: str, value: int) -> int:
    """A number that need not be parsed.

    Raises:
        StepbenchError: when it is below 1.
    """
    if value < 1:
        raise StepbenchError(f"{option} must be at least 1, not {value}.")
    return value


def duration(option: str, text: str) -> float:
    """Seconds, from ``90``, ``90s``, ``5m`` or ``1h``.

    Raises:
        StepbenchError: when it is none, or 0, or longer than one can wait.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNIT_SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise StepbenchError(f"{option} takes a time such as 90s, 5m or 1h, not {text[:80]!r}.")
    return seconds


def share(option: str, text: str) -> float:
    """A share such as ``2%`` or ``0.02``.

    Raises:
        StepbenchError: when it is none.
    """
    found = _SHARE.fullmatch(text.strip())
    if not found:
        raise StepbenchError(f"{option} takes a share such as 2%, not {text!r}.")
    return float(found[1]) / (100 if found[2] else 1)


def one(option: str, values: Sequence[_Value]) -> _Value:
    """The only one of ``values``.

    Raises:
        StepbenchError: when there are several.
    """
    if len(values) > 1:
        raise StepbenchError(f"{option} takes one value here, not {len(values)}.")
    return values[0]


def workload_locators(option: str, text: str) -> tuple[str, ...]:
    """A comma list of workloads' places.

    Raises:
        StepbenchError: when one cannot be the place of a workload.
    """
    return tuple(workload_locator(name) for name in names(option, text))


def settings(option: str, given: Sequence[str] | None) -> tuple[tuple[Setting, ...], ...]:
    """Of each ``NAME=A,B`` the settings that it names; in a value, ``%2C`` is a comma.

    Raises:
        StepbenchError: when one is not of that form, there is no such setting, or it cannot be that.
    """
    found: dict[str, tuple[Setting, ...]] = {}
    for text in (given,) if isinstance(given, str) else given or ():
        name, equals, values = text.partition("=")
        if not equals or name in found:
            how = "takes each setting once" if equals else "takes a setting and its values, as in intra_threads=1,2"
            raise StepbenchError(f"{option} {how}, not {text[:80]!r}.")
        parts = values.split(",") if name.startswith(ENVIRONMENT) else names(option, values)
        found[name] = tuple(Setting(name, unquote(value)) for value in dict.fromkeys(parts))
    return tuple(found.values())


def assignments(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Of each ``NAME=VALUE`` the two.

    Raises:
        StepbenchError: when one is not of that form, or a name is there twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise StepbenchError(f"{option} takes NAME=VALUE, not {text[:80]!r}.")
        if found.setdefault(name, value) != value:
            raise StepbenchError(f"{option} gives {name} two values, {found[name]!r} and {value!r}: give one.")
    return found


def allowed(option: str, given: Sequence[str] | None) -> bool:
    """Whether other batch sizes may be tried.

    Raises:
        StepbenchError: when something else is to be allowed.
    """
    for name in given or ():
        if name != BATCH_SIZE:
            raise StepbenchError(f"{option} knows no {name[:80]!r}: use {BATCH_SIZE}.")
    return bool(given)


def plugin_locators(_: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """The places of plugins: of several, of one as it is, or of none.

    Raises:
        StepbenchError: when there is no such file.
    """
    return tuple(plugin_locator(name) for name in ((given,) if isinstance(given, str) else given or ()))


def workload_locator(locator: str) -> str:
    """A workload's place, with a relative file made absolute, so that a run can be resumed from anywhere.

    Raises:
        StepbenchError: when it cannot be the place of a workload.
    """
    if locator in BUILT_IN_WORKLOADS:
        return locator
    if locator.endswith(".py"):
        return shlex.quote(plugin_locator(locator))
    module, _, attribute = locator.rpartition(":")
    if not module or not attribute:
        known = ", ".join(BUILT_IN_WORKLOADS)
        raise StepbenchError(
            f"There is no workload {locator!r}: use {known}, 'package.module:attribute', "
            "'path/to/file.py:attribute' or a training script, 'path/to/script.py'."
        )
    return f"{plugin_locator(module)}:{attribute}"


def plugin_locator(module: str) -> str:
    """A module's name as it is, a file's path made absolute.

    Raises:
        StepbenchError: when there is no such file.
    """
    if not module.endswith(".py"):
        return module
    try:
        found = Path(module).is_file()
    except OSError:  # A name that no file system takes.
        found = False
    if not found:
        raise StepbenchError(f"There is no file {module}: give the path of the Python file that defines it.")
    return str(Path(module).resolve())
