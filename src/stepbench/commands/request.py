"""What is asked to be measured: each field stands here once, with the option that gives it and its default.

The command line and pytest's markers both take their options from :data:`OPTIONS`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from stepbench.commands import options
from stepbench.records.cases import DEFAULT_EXECUTIONS, Device, Precision, Tracing, Verification
from stepbench.records.settings import Setting

GATE_DEFAULTS = {"data": "synthetic"}
"""Of gates and calibrations: both sides need the same data, not the real one."""


@dataclass(frozen=True)
class Option:
    """How people give a field: as ``--batch-size 64`` on the command line, as ``batch_size="64"`` in a marker."""

    name: str
    default: Any
    about: str
    parse: Callable[[str, Any], Any]
    """Takes the option, to be named in a refusal, and what was given."""
    kind: Any
    """The type of what is given."""


def _as_given(_: str, value: Any) -> Any:
    return value


def _given(name: str, default: Any, about: str, parse: Callable[[str, Any], Any] = _as_given, kind: Any = str) -> Any:
    option = Option(name, default, about, parse, kind)
    return field(default=parse(name, default), metadata={"option": option})


@dataclass(frozen=True)
class Request:
    """What a command line or a pytest marker asks to be measured.

    Raises:
        StepbenchError: when it asks for less than one replicate or round.
    """

    workloads: tuple[str, ...] = _given(
        "workload",
        "cifar-cnn",
        "Built-in name, package.module:attribute, path/to/file.py:attribute, or a training script: path/to/script.py.",
        options.workload_locators,
    )
    executions: tuple[str, ...] = _given(
        "execution", ",".join(DEFAULT_EXECUTIONS), "Comma list of eager, graph, xla, keras or plugins'.", options.names
    )
    precisions: tuple[Precision, ...] = _given(
        "precision",
        ",".join(Precision),
        "Comma list of float32, mixed_bfloat16, mixed_float16.",
        functools.partial(options.choices, kind=Precision),
    )
    devices: tuple[Device, ...] | None = _given(
        "device", options.ALL_DEVICES, "Comma list of cpu, gpu, or all that are present.", options.devices
    )
    """All that are present, if None."""
    batch_sizes: tuple[int, ...] = _given(
        "batch_size",
        None,
        "Comma list of examples a step; if not given, a script's or pipeline's own, else 64.",
        options.optional_numbers,
        kind=str | None,
    )
    """Each workload's own if empty."""
    steps_per_call: tuple[int, ...] = _given(
        "steps_per_call", "1", "Comma list; above 1 for compiled steps.", options.numbers
    )
    settings: tuple[tuple[Setting, ...], ...] = _given(
        "setting",
        None,
        "A knob of the runtime and its values, such as malloc=default,tcmalloc; repeatable.",
        options.settings,
        kind=list[str] | None,
    )
    data: str = _given("data", "auto", "auto, cifar10, synthetic, or a folder with CIFAR-10 as published.")
    plugins: tuple[str, ...] = _given(
        "plugin",
        None,
        "A file or module that registers variants; repeatable.",
        options.plugin_locators,
        kind=list[str] | None,
    )
    timeout_s: float = _given(
        "timeout", "120s", "How long a case may take to start or to run one block.", options.duration
    )
    seed: int = _given("seed", 0, "Of initial weights and of all else that is drawn at random.", kind=int)
    script_args: str = _given("script_args", "", "The command line of a training script.")
    only: tuple[str, ...] = ()
    """Ids of cases, or parts of them; all that the other fields span if empty."""
    replicates: int = 5
    rounds: int = 9
    input_pipeline: bool = True
    verification: Verification | None = None
    tracing: Tracing | None = None

    def __post_init__(self) -> None:
        if self.replicates or not (self.verification or self.tracing):
            options.at_least_one("--replicates", self.replicates)
        options.at_least_one("--rounds", self.rounds)


_FIELDS = {found.metadata["option"].name: found.name for found in fields(Request) if "option" in found.metadata}
OPTIONS: dict[str, Option] = {
    found.metadata["option"].name: found.metadata["option"] for found in fields(Request) if "option" in found.metadata
}
"""By their names, in the order in which help lists them."""


def measuring_request(**given: Any) -> Request:
    """The request for what was given: options by their names, the other fields by theirs.

    Raises:
        StepbenchError: when a text cannot be understood.
        TypeError: when there is no option or field of a name.
    """
    values = {}
    for name, value in given.items():
        option = OPTIONS.get(name)
        values[_FIELDS[name] if option else name] = option.parse(flag(name), value) if option else value
    return Request(**values)


def flag(name: str) -> str:
    """An option as it stands on the command line."""
    return f"--{name.replace('_', '-')}"
