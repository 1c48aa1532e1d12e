"""Nested dicts, tuples and lists of arrays, of which the first axis counts examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stepbench.errors import StepbenchError


def leaves(structure: Any) -> Iterator[Any]:
    """The arrays of a structure, in the order of its keys; None is no array."""
    if isinstance(structure, dict):
        for name in sorted(structure, key=str):
            yield from leaves(structure[name])
    elif isinstance(structure, list | tuple):
        for part in structure:
            yield from leaves(part)
    elif structure is not None:
        yield structure


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with each array replaced by what ``function`` gives for it."""
    if isinstance(structure, dict):
        return type(structure)((name, map_leaves(function, part)) for name, part in structure.items())
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, part) for part in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_leaves(function, part) for part in structure)
    return None if structure is None else function(structure)


def rows_in(structure: Any) -> int:
    """How many examples the first array of a structure holds."""
    first = next(leaves(structure), None)
    return 0 if first is None else _length(first)


def first_rows(structure: Any, count: int) -> Any:
    """The structure with the first ``count`` examples of each array."""
    return map_leaves(lambda array: array[:count], structure)


def count_rows(what: str, **structures: Any) -> int:
    """How many examples all of the structures hold.

    Raises:
        StepbenchError: when they differ in that, or hold none.
    """
    lengths = {name: {_length(leaf) for leaf in leaves(structure)} for name, structure in structures.items()}
    counts = {count for found in lengths.values() for count in found}
    if len(counts) != 1 or 0 in counts:
        told = " and ".join(f"{'/'.join(map(str, sorted(found)))} {name}" for name, found in lengths.items() if found)
        raise StepbenchError(f"The {what} has {told or 'nothing in it'}: give as many of each, at least one.")
    return counts.pop()


def _length(array: Any) -> int:
    if isinstance(array, int | float | str | bytes):
        raise StepbenchError("The data hold a bare number or text: give arrays whose first axis counts examples.")
    shape = getattr(array, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) else len(array)
