"""What is asked for, turned into the plan of a run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stepbench.errors import StepbenchError
from stepbench.records.cases import (
    BUILT_IN_EXECUTIONS,
    DEFAULT_EXECUTIONS,
    GRAPH,
    PLANTED,
    Case,
    Device,
    Plan,
    Precision,
    Selection,
    Tracing,
    Variant,
    Verification,
)


@dataclass(frozen=True)
class Request:
    """What a command line or a pytest marker asks to be measured."""

    workloads: tuple[str, ...] = ("cifar-cnn",)
    executions: tuple[str, ...] = DEFAULT_EXECUTIONS
    precisions: tuple[Precision, ...] = tuple(Precision)
    devices: tuple[Device, ...] | None = None
    """All that are present, if None."""
    batch_sizes: tuple[int, ...] = (64,)
    steps_per_call: tuple[int, ...] = (1,)
    data: str = "auto"
    plugins: tuple[str, ...] = ()
    replicates: int = 5
    rounds: int = 9
    timeout_s: float = 120.0
    input_pipeline: bool = True
    seed: int = 0
    verification: Verification | None = None
    tracing: Tracing | None = None


def with_planted_bugs(request: Request) -> Request:
    """The request for ``verify --self-test``: every planted bug on the request's workload, in all its precisions."""
    return replace(request, executions=(GRAPH, *PLANTED), plugins=(*request.plugins, "stepbench.training.planted"))


@dataclass(frozen=True)
class Planned:
    """A plan, and the name of the data set it is about."""

    plan: Plan
    data: str


def make_plan(request: Request) -> Planned:
    """Find out what the request names, in a worker of its own, and turn it into cases.

    Raises:
        StepbenchError: when something of it does not exist or cannot be.
    """
    from stepbench.engine.pool import describe
    from stepbench.records.protocol import Describe

    for execution in request.executions:
        check_execution(execution, request.plugins)
    data = _absolute_data(request.data)
    select(request, ("unnamed",), request.devices or (Device.CPU,))  # What is impossible shows before the wait.
    with tempfile.TemporaryDirectory(prefix="stepbench-") as logs:
        order = Describe(request.workloads, request.executions, request.plugins, data)
        described = describe(order, Path(logs))
    present = tuple(Device(device) for device in described.devices)
    devices = request.devices or present
    if missing := set(devices) - set(present):
        raise StepbenchError(
            f"TensorFlow sees no {missing.pop()} here: use --device {present[0]}, "
            "or for a GPU install the extra 'stepbench[gpu]' and its driver."
        )
    cases = select(request, tuple(described.workloads), devices)
    plan = Plan(
        cases=cases if request.replicates or not request.verification else _with_anchors(cases),
        workloads=described.workloads,
        # What "auto" found is what a resumed run must find too.
        data=described.data if data == "auto" else data,
        plugins=request.plugins,
        replicates=request.replicates,
        rounds=request.rounds,
        input_pipeline=request.input_pipeline,
        timeout_s=request.timeout_s,
        seed=request.seed,
        verification=request.verification,
        tracing=request.tracing,
    )
    return Planned(plan, described.data)


def check_execution(name: str, plugins: tuple[str, ...]) -> None:
    """Refuse a misspelt execution without waiting for TensorFlow, unless a plugin may define it.

    Raises:
        StepbenchError: when there is none of that name.
    """
    if name not in BUILT_IN_EXECUTIONS and not plugins:
        raise StepbenchError(
            f"There is no execution {name!r}: use {', '.join(BUILT_IN_EXECUTIONS)}, "
            "or name the file that registers it with --plugin."
        )


def select(request: Request, workloads: tuple[str, ...], devices: tuple[Device, ...]) -> tuple[Case, ...]:
    """The cases that a request spans.

    Raises:
        StepbenchError: when there are none.
    """
    selection = Selection(
        workloads, request.executions, request.precisions, devices, request.batch_sizes, request.steps_per_call
    )
    return selection.cases()


def _with_anchors(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases of a verification, with those that they are trained against."""
    graph = Variant(GRAPH, Precision.FLOAT32)
    return tuple(dict.fromkeys((*(msgspec.structs.replace(case.reference, variant=graph) for case in cases), *cases)))


def _absolute_data(option: str) -> str:
    """Check ``--data`` before the wait; a relative folder is made absolute, so that a run can be resumed anywhere."""
    from stepbench.training.data import resolve_source

    if option in ("auto", "cifar10", "synthetic"):
        if option == "auto":
            resolve_source(option)
        return option
    return str(resolve_source(option).folder)
