"""The options that select cases, written once for every command that measures some."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from stepbench.commands.request import OPTIONS, measuring_request


def selecting(**defaults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a selection, whose request it gets as its first argument.

    Args:
        defaults: where they are other than those of ``run``.
    """

    def extend(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def extended(**given: object) -> None:
            command(measuring_request(**{name: given.pop(name) for name in OPTIONS}), **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*_shared(defaults), *own)]
        by_name.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)  # As help lists them.
        extended.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined] # What typer reads.
        return extended

    return extend


def _shared(defaults: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    for name, option in OPTIONS.items():
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name, option.default),
            annotation=Annotated[option.kind, help_of(name)],
        )


def help_of(name: str) -> Any:
    """What typer tells of an option of a selection, for a command that takes it by itself."""
    return typer.Option(help=OPTIONS[name].about)
