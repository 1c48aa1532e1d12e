"""JSON files, written whole or not at all and read strictly; what goes wrong is one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from stepbench.errors import StepbenchError

SCHEMA = 1
# A list or an object that holds no other. Strings hold no line breaks in JSON, so none of theirs is taken for one.
_INNERMOST = re.compile(rb'[\[{]\n(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+[\]}]')


class _Stored(Protocol):
    @property
    def schema(self) -> int: ...


_Kind = TypeVar("_Kind", bound=_Stored)


class _SchemaOnly(msgspec.Struct):
    schema: int


def encode(what: object) -> bytes:
    """Indented JSON in which a list or an object that holds no other takes one line.

    Raises:
        StepbenchError: for text that is no Unicode.
    """
    try:
        return _INNERMOST.sub(_on_one_line, msgspec.json.format(msgspec.json.encode(what), indent=1))
    except UnicodeEncodeError as error:
        raise StepbenchError(f"The results cannot be stored ({error}): use names in UTF-8.") from error


def _on_one_line(found: re.Match[bytes]) -> bytes:
    return re.sub(rb"\n *", b"", re.sub(rb",\n *", b", ", found[0]))


def write(path: Path, content: bytes) -> None:
    """Write a file whole, or leave the one that is there; its folder is made if need be.

    Raises:
        StepbenchError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, content)
    except OSError as error:
        raise unwritable(path.parent, error, "choose a folder that can be written with --results") from error


def _write_atomically(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """A file whole.

    Raises:
        StepbenchError: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StepbenchError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def decode(path: Path, kind: type[_Kind]) -> _Kind:
    """What a file holds.

    Raises:
        StepbenchError: when it cannot be read or understood, or has another schema.
    """
    content = read(path)
    try:
        try:
            found = msgspec.json.decode(content, type=kind)
        except (msgspec.ValidationError, StepbenchError):
            # Another schema may have other fields.
            _check_schema(path, msgspec.json.decode(content, type=_SchemaOnly))
            raise
        _check_schema(path, found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(path, error) from error
    return found


def _check_schema(path: Path, found: _Stored) -> None:
    if found.schema != SCHEMA:
        raise StepbenchError(f"{path} has schema {found.schema}, and this stepbench reads {SCHEMA}: use the other one.")


def is_file(path: Path) -> bool:
    """As ``Path.is_file``, which raises for names that no file system takes."""
    try:
        return path.is_file()
    except OSError:
        return False


def damaged(path: Path, error: Exception) -> StepbenchError:
    """That a file cannot be understood."""
    return StepbenchError(f"{path} is damaged ({error}): measure again, or choose another run.")


def unwritable(path: Path, error: OSError, remedy: str) -> StepbenchError:
    """That a file or a folder cannot be written."""
    return StepbenchError(f"{path} cannot be written ({error.strerror}): {remedy}.")
