"""The options that select cases, written once for every command that measures some."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, TypedDict, get_type_hints

import typer

from stepbench.cli.shared import DataOption, PluginOption, WorkloadsOption
from stepbench.commands import options
from stepbench.records.cases import DEFAULT_EXECUTIONS, Precision


class SelectionOptions(TypedDict):
    """Texts of the command line, as :func:`stepbench.commands.options.measuring_request` takes them."""

    workload: WorkloadsOption
    execution: Annotated[str, typer.Option(help="Comma list of eager, graph, xla, keras or plugins'.")]
    precision: Annotated[str, typer.Option(help="Comma list of float32, mixed_bfloat16, mixed_float16.")]
    device: Annotated[str, typer.Option(help="Comma list of cpu, gpu, or all that are present.")]
    batch_size: Annotated[str, typer.Option(help="Comma list of examples a step.")]
    steps_per_call: Annotated[str, typer.Option(help="Comma list; above 1 for compiled steps.")]
    data: DataOption
    plugin: PluginOption
    timeout: Annotated[str, typer.Option(help="How long a case may take to start or to run one block.")]
    seed: Annotated[int, typer.Option(help="Of initial weights and of all else that is drawn at random.")]


_DEFAULTS = SelectionOptions(
    workload="cifar-cnn",
    execution=",".join(DEFAULT_EXECUTIONS),
    precision=",".join(Precision),
    device=options.ALL_DEVICES,
    batch_size="64",
    steps_per_call="1",
    data="auto",
    plugin=None,
    timeout="120s",
    seed=0,
)


def selecting(**defaults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a selection, which it gets together as its first argument.

    Args:
        defaults: where they are other than those of ``run``.
    """

    def extend(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def extended(**given: object) -> None:
            command({name: given.pop(name) for name in _DEFAULTS}, **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*_shared(defaults), *own)]
        by_name.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)  # As help lists them.
        extended.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined] # What typer reads.
        return extended

    return extend


def _shared(defaults: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    values = {**_DEFAULTS, **defaults}
    for name, hint in get_type_hints(SelectionOptions, include_extras=True).items():
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=values[name], annotation=hint)
