"""What is asked for, turned into a plan: in one place, for every command alike."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stepbench.commands.case_names import matching
from stepbench.commands.request import Request
from stepbench.commands.verify import with_anchors
from stepbench.errors import StepbenchError
from stepbench.probes.settings import check_settings
from stepbench.records.cases import BUILT_IN_EXECUTIONS, Case, Device, Plan, Selection
from stepbench.training.locate import is_script

if TYPE_CHECKING:
    from stepbench.engine.worktrees import Checkout
    from stepbench.records.machine import Environment
    from stepbench.records.protocol import Described, Written

UNNAMED = "unnamed"
"""A workload whose name is not known yet."""
OWN_DATA = "the script's own"
"""What a run is said to be about where ``--data`` says nothing."""


@dataclass(frozen=True)
class Planned:
    """A plan, and the name of the data set it is about."""

    plan: Plan
    data: str
    written: Mapping[str, Written] = field(default_factory=dict)
    """How the authors of compiled models have their steps run, by the workloads' names."""

    def in_environment(self, environment: Environment) -> Environment:
        """What was found of the machine, with how workers come about there."""
        return msgspec.structs.replace(environment, forks=self.plan.forks)


def make_plan(request: Request, checkout: Checkout | None = None) -> Planned:
    """Find out what the request names, in a worker of its own, and turn it into cases.

    Args:
        request: what is asked for.
        checkout: the revision whose files of the repository are looked at; files are taken as they are if None.

    Raises:
        StepbenchError: when something of it does not exist or cannot be.
    """
    request = checked(request)
    described, unforkable = _describe(request, checkout)
    cases = _chosen(request.only, _cases(request, described.batch_sizes, _devices(request, described)))
    plan = Plan(
        cases=cases if request.replicates or not request.verification else with_anchors(cases),
        workloads=dict(zip(described.workloads, request.workloads, strict=True)),
        # What "auto" found is what a resumed run must find too, and both sides of a gate.
        data=described.data if request.data == "auto" else request.data,
        plugins=request.plugins,
        **how_asked(request),
        remarks=(*described.remarks, *_why_started(unforkable), *_no_reference(request, cases)),
        forks=unforkable is None,
    )
    # What a script trains on is its own.
    data = OWN_DATA if all(map(is_script, request.workloads)) else described.data
    return Planned(plan, data, described.written)


def how_asked(request: Request) -> dict[str, Any]:
    """The fields of a plan that say how its cases are measured, whichever they are."""
    names = ("replicates", "rounds", "input_pipeline", "timeout_s", "seed", "verification", "tracing")
    return {name: getattr(request, name) for name in names}


def _why_started(unforkable: str | None) -> list[str]:
    if unforkable is None:
        return []
    return [f"Workers are started one by one, which takes longer, as they cannot be forked: {unforkable}"]


def _no_reference(request: Request, cases: tuple[Case, ...]) -> list[str]:
    """Of settings that leave the reference out, which a comma list of them does easily."""
    known = {case.plain for case in cases}
    if not request.replicates or not any(case.reference in known - set(cases) for case in cases):
        return []
    name = next(settings[0].name for settings in request.settings)
    return [f"No case has the usual settings, so there is nothing to compare with: add default, as in {name}=default"]


def checked(request: Request) -> Request:
    """The request, its data's folder made absolute, unless something in it is seen to be wrong without TensorFlow.

    Raises:
        StepbenchError: when something is.
    """
    for execution in request.executions:
        check_execution(execution, request.plugins)
    _cases(request, {UNNAMED: 1}, request.devices or (Device.CPU,))
    # Which devices there are is not known yet, if none is asked for.
    check_settings(itertools.chain.from_iterable(request.settings), request.devices or tuple(Device))
    if request.script_args and not any(map(is_script, request.workloads)):
        raise StepbenchError("--script-args goes with a training script: name one, as in --workload path/to/script.py.")
    workloads = tuple(_with_arguments(place, request.script_args) for place in request.workloads)
    return replace(request, data=_absolute_data(request.data), workloads=workloads, script_args="")


def _with_arguments(place: str, arguments: str) -> str:
    """A script's place with its command line; other workloads take none."""
    return f"{place} {arguments}" if arguments and is_script(place) else place


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


def _absolute_data(option: str) -> str:
    """Check ``--data`` before the wait; a relative folder is made absolute, so that a run can be resumed anywhere."""
    from stepbench.training.data import resolve_source

    if option in ("auto", "cifar10", "synthetic"):
        if option == "auto":
            resolve_source(option)
        return option
    return str(resolve_source(option).folder)


def _describe(request: Request, checkout: Checkout | None) -> tuple[Described, str | None]:
    from stepbench.engine.asking import describe
    from stepbench.records.protocol import Describe

    workloads, plugins = request.workloads, request.plugins
    with tempfile.TemporaryDirectory(prefix="stepbench-") as logs:
        if checkout is not None:
            workloads, plugins = (tuple(map(checkout.located, places)) for places in (workloads, plugins))
        order = Describe(workloads, request.executions, plugins, request.data, request.batch_sizes)
        if checkout is None:
            return describe(order, Path(logs))
        return describe(order, Path(logs), checkout.surroundings())


def _devices(request: Request, described: Described) -> tuple[Device, ...]:
    present = tuple(map(Device, described.devices))
    if missing := set(request.devices or ()) - set(present):
        raise StepbenchError(
            f"TensorFlow sees no {missing.pop()} here: use --device {present[0]}, "
            "or for a GPU install the extra 'stepbench[gpu]' and its driver."
        )
    devices = request.devices or present
    check_settings(itertools.chain.from_iterable(request.settings), devices)
    return devices


def _cases(request: Request, usual: Mapping[str, int], devices: tuple[Device, ...]) -> tuple[Case, ...]:
    """All cases of the request; of workloads with their usual batch sizes where it asks for none."""
    selections = [
        Selection(
            (workload,),
            request.executions,
            request.precisions,
            devices,
            request.batch_sizes or (batch_size,),
            request.steps_per_call,
            request.settings,
        )
        for workload, batch_size in usual.items()
    ]
    return tuple(case for selection in selections for case in selection.cases())


def _chosen(only: tuple[str, ...], cases: tuple[Case, ...]) -> tuple[Case, ...]:
    for name in only:
        if not matching(name, cases):
            raise StepbenchError(f"--cases names {name!r}, which no case is: use an id such as {cases[0].id}.")
    return tuple(case for case in cases if not only or any(case in matching(name, cases) for name in only))
