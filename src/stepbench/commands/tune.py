"""The command ``tune``: a race for the fastest way to run a step, begun or continued, and left beside its run."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from stepbench.commands import options
from stepbench.commands.plan import make_plan
from stepbench.commands.request import Request
from stepbench.commands.run import start_run
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.probes.settings import available_values, check_settings
from stepbench.records.cases import (
    DEFAULT_EXECUTIONS,
    GRAPH,
    KERAS,
    ONE_STEP_A_CALL,
    Case,
    Device,
    Plan,
    Precision,
    Variant,
    Verification,
    effective,
)
from stepbench.records.progress import Progress, Say, Tell
from stepbench.records.protocol import Written
from stepbench.records.run import Measurement
from stepbench.records.settings import (
    AUTOCLUSTER,
    CATALOGUE,
    GPU_ALLOCATOR,
    GPU_THREADS,
    INTER_THREADS,
    INTRA_THREADS,
    MALLOC,
    ONEDNN,
    PROCESSORS,
    TF32,
    Setting,
)
from stepbench.records.store import Journal, Run, Store
from stepbench.records.tune import Change, Race, Stage

MOST_DOUBLINGS = 4
"""Of the batch size."""
LEAST_BUDGET_S = 30.0
SHORT_S, SHORT_STEPS = 600.0, 100
"""With a budget below that, the winner is certified by trainings of so many steps."""
AXES = ("execution", "precision", "steps_per_call")
"""That can be fixed beside settings."""
THREADED = (INTRA_THREADS, INTER_THREADS, PROCESSORS, ONEDNN)
"""Settings that change each other's effect, even its sign, so all their products are tried."""
ALONE = (MALLOC, AUTOCLUSTER, TF32, GPU_THREADS, GPU_ALLOCATOR)
"""Those that are tried one by one on what is left."""


@dataclass(frozen=True)
class TuneRequest:
    """What is to be raced."""

    request: Request
    budget_s: float = 600.0
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Axes and settings that every candidate has, the default too."""
    allows_batch_size: bool = False
    training_steps: int | None = None
    """Over which the first call counts; a script's own if None."""

    @property
    def verification(self) -> Verification:
        """How the winner is certified: by trainings that fit into the budget."""
        return Verification() if self.budget_s >= SHORT_S else Verification(steps=SHORT_STEPS)


def tune(
    asked: TuneRequest, results: Path, tell: Tell, say: Say, *, resume: str | None = None
) -> tuple[Race, Run, Path]:
    """A race, begun or continued, held to its end; with its run, and their folder.

    Raises:
        InterruptedRunError: on Ctrl-C; what was measured is on disk.
        StepbenchError: when something of it does not exist, cannot be, or cannot be written.
    """
    store = Store(results)
    if resume is None:
        store.check_writable()
        tell(Progress(0, 0, "looking at the workload and the devices"))
        race, run = _begin(asked, store, say)
    else:
        run = store.read(resume)
        store = Store(store.locate(resume).parent)
        race = store.read_race(run.run_id)
    if not race.finished:
        race = _hold(race, run, store, tell)
    return race, store.read(run.run_id), store.folder(run.run_id)


def _begin(asked: TuneRequest, store: Store, say: Say) -> tuple[Race, Run]:
    if asked.budget_s < LEAST_BUDGET_S:
        raise StepbenchError(f"--budget is too short for one round: give it {LEAST_BUDGET_S:.0f}s or more.")
    fixed = fixed_of(asked.fixed, asked.request)
    check_place(fixed)
    request = replace(fixed, settings=(), replicates=1, verification=asked.verification, input_pipeline=False)
    planned = make_plan(replace(request, steps_per_call=(1,)) if min(request.steps_per_call) > 1 else request)
    for remark in planned.plan.remarks:
        say(remark)
    first = max(planned.plan.cases, key=lambda case: case.device is Device.GPU)
    check_settings((one for values in fixed.settings for one in values), [first.device])
    written = planned.written.get(first.workload)
    default = _default(first, written, asked.fixed)
    race_stages = stages(fixed, first, set(asked.fixed), allows_batch_size=asked.allows_batch_size)
    run = start_run(replace(planned, plan=planned.plan.with_cases((default,))), store)
    race = Race(
        run_id=run.run_id,
        default=default,
        stages=race_stages,
        is_compiled=written is not None,
        budget_s=asked.budget_s,
        training_steps=asked.training_steps or (written.training_steps if written else None),
    )
    store.write_race(race)
    return race, run


def fixed_of(fixed: Mapping[str, str], request: Request) -> Request:
    """The request with what every candidate is to have.

    Raises:
        StepbenchError: when something cannot be fixed, or not to that.
    """
    for name, value in fixed.items():
        match name:
            case "execution":
                asked: Sequence[object] = () if request.executions == DEFAULT_EXECUTIONS else request.executions
                request = replace(request, executions=(value,))
            case "precision":
                asked = request.precisions
                request = replace(request, precisions=options.choices("--fix precision", value, Precision))
            case "steps_per_call":
                asked = ()
                steps = options.one("--fix steps_per_call", options.numbers("--fix steps_per_call", value))
                request = replace(request, steps_per_call=(steps,))
            case _:
                asked = [one.value for values in request.settings for one in values if one.name == name]
                free = tuple(values for values in request.settings if values[0].name != name)
                request = replace(request, settings=(*free, (Setting(name, value),)))
        if asked and value not in asked:
            others = ", ".join(map(str, asked))
            raise StepbenchError(f"--fix {name}={value} contradicts what else is asked for: {others}.")
    return request


def check_place(request: Request) -> None:
    """Refuse what is seen to be wrong without TensorFlow: a race is of one workload, device and batch size.

    Raises:
        StepbenchError: when there are several, or a setting cannot be had here.
    """
    options.one("--workload", request.workloads)
    options.one("--device", request.devices or (Device.CPU,))
    options.one("--batch-size", request.batch_sizes or (1,))
    if set(request.executions) <= set(ONE_STEP_A_CALL) and min(request.steps_per_call) > 1:
        raise StepbenchError(f"The execution {request.executions[0]} takes one step a call: leave steps_per_call out.")
    check_settings((one for values in request.settings for one in values), request.devices or tuple(Device))


def _default(first: Case, written: Written | None, fixed: Mapping[str, str]) -> Case:
    """What the user has: what a model was compiled for, else a graph in float32, with what is fixed."""
    own = written or Written(GRAPH)
    settings = effective((Setting(name, fixed[name]) for name in fixed if name not in AXES), first.device)
    steps = int(fixed.get("steps_per_call", own.steps_per_call))
    # Keras' train function takes one batch from us; of several a call a graph is the same function.
    execution = GRAPH if own.execution == KERAS and steps > 1 else own.execution
    variant = Variant(fixed.get("execution", execution), Precision(fixed.get("precision", own.precision)))
    return Case(first.workload, variant, first.device, first.batch_size, steps, settings)


def stages(request: Request, place: Case, fixed: set[str], *, allows_batch_size: bool) -> tuple[Stage, ...]:
    """What is tried, the factors that matter most first; what has nothing to try is left out.

    Args:
        request: what may be tried.
        place: the workload, device and batch size.
        fixed: names of what is not to be tried.
        allows_batch_size: whether others may be tried, though they change what is learnt.
    """
    ways = [
        Change(execution=execution, precision=precision)
        for execution in request.executions
        for precision in request.precisions
    ]
    calls = [Change(steps_per_call=steps) for steps in request.steps_per_call]
    sizes = [Change(batch_size=place.batch_size << doubling) for doubling in range(1, MOST_DOUBLINGS + 1)]
    values = _values(request, place, fixed)
    threads = [Change(settings=settings) for settings in _products([values.get(name, ()) for name in THREADED])]
    alone = [Change(settings=(one,)) for name in values if name not in THREADED for one in values[name]]
    found = {
        "execution and precision": ways,
        "steps per call": calls if set(calls) != {Change(steps_per_call=1)} else [],
        "batch size": sizes if allows_batch_size else [],
        "threads and kernels": threads,
        "other settings": alone,
    }
    return tuple(Stage(name, tuple(changes)) for name, changes in found.items() if changes)


def _values(request: Request, place: Case, fixed: set[str]) -> dict[str, tuple[Setting, ...]]:
    """Of each setting that may be tried the values beside its default: those asked for, or all that there are here."""
    asked = {values[0].name: tuple(one for one in values if not one.is_default) for values in request.settings}
    if asked.keys() - fixed:
        return {name: values for name, values in asked.items() if values and name not in fixed}
    everything = {
        name: tuple(Setting(name, value) for value in _worth_trying(name))
        for name in (*THREADED, *ALONE)
        if name not in fixed and (place.device is Device.GPU or not CATALOGUE[name].needs_gpu)
    }
    return {name: values for name, values in everything.items() if values}


def _worth_trying(name: str) -> tuple[str, ...]:
    """Of threads one, and as many as half of the processors; of others all that there are here."""
    if name not in (INTRA_THREADS, INTER_THREADS):
        return available_values(name)
    there = len(os.sched_getaffinity(0))
    return tuple(str(number) for number in sorted({1, there // 2} - {0, there}))


def _products(axes: Sequence[Sequence[Setting]]) -> Iterator[tuple[Setting, ...]]:
    """All combinations of settings, each of which may stay at its default, but not all."""
    for chosen in itertools.product(*((None, *axis) for axis in axes)):
        if settings := tuple(filter(None, chosen)):
            yield settings


def _hold(race: Race, run: Run, store: Store, tell: Tell) -> Race:
    from stepbench.engine import tune as engine

    folder = store.folder(run.run_id)

    def known(plan: Plan) -> Sequence[Measurement]:
        store.write(msgspec.structs.replace(run, plan=plan))
        return store.read(run.run_id).measurements

    try:
        with Journal(folder) as journal:
            plan = store.read(run.run_id).plan
            race = engine.tune(race, plan, engine.Track(known, store.write_race, journal, folder, tell))
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; what was measured is kept: continue with 'stepbench tune --resume {run.run_id}'."
        ) from None
    measured = store.read(run.run_id)
    complete = msgspec.structs.replace(measured, finished=dt.datetime.now(dt.UTC))
    store.write(complete)
    _leave_page(race, complete, folder)
    return race


def _leave_page(race: Race, run: Run, folder: Path) -> None:
    from stepbench.report.html.files import REPORT_FILE, leave_page

    def draw() -> str:
        from stepbench.report.html.tune import tune_page
        from stepbench.report.tuned import summarize_race

        return tune_page(race, run, summarize_race(race, run))

    leave_page(draw, folder / REPORT_FILE)
