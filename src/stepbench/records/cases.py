"""What can be measured: variants, cases, and the plan of a run. Pure values; no TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

import msgspec

from stepbench.errors import StepbenchError
from stepbench.records.settings import Setting, suffix

EAGER = "eager"
GRAPH = "graph"
XLA = "xla"
KERAS = "keras"

DEFAULT_EXECUTIONS = (EAGER, GRAPH, XLA)
"""The executions of the default matrix."""

BUILT_IN_EXECUTIONS = (*DEFAULT_EXECUTIONS, KERAS)
"""Every execution that needs no ``--plugin``."""

ONE_STEP_A_CALL = (EAGER, KERAS)
"""Executions that have no call of several steps."""

INNOCENT = "planted-nothing"
BUGS = {
    "planted-learning-rate": "learning rate 2 % too high",
    "planted-dropped-gradient": "the first layer's gradient dropped",
    "planted-doubled-bias": "bias gradients doubled",
    "planted-loss-scale": "the loss scale not divided out",
    "planted-epsilon": "the optimizer's epsilon 1e-3 instead of 1e-7",
    "planted-beta-2": "the optimizer's beta 2 0.99 instead of 0.999",
    "planted-labels": "2 % of the labels taken from a neighbour",
    "planted-bfloat16-weights": "master weights kept in bfloat16",
    "planted-inference-mode": "the model called with training=False",
    "planted-summed-loss": "the loss summed over the batch instead of averaged",
    "planted-stale-gradient": "each gradient applied one step late",
    "planted-clipping": "gradients clipped silently, to a norm of 0.1",
    "planted-flipped-sign": "one gradient in twenty with its sign flipped",
    "planted-momentum-reset": "the optimizer's variables reset every fiftieth step",
    "planted-late": "the learning rate halved from the hundredth step on",
    "planted-late-loss": "the loss doubled from the thirtieth step on",
}
"""The bugs that ``verify --self-test`` plants (in ``training.planted``), by the executions that have them."""
PLANTED = (INNOCENT, *BUGS)
BEGINS_AFTER = {"planted-flipped-sign": 20, "planted-momentum-reset": 50, "planted-late": 100, "planted-late-loss": 30}
"""Steps after which a bug first does something; shorter trainings cannot show it."""

MAX_NAME_LENGTH = 1000


class Precision(StrEnum):
    """A Keras dtype policy."""

    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    MIXED_FLOAT16 = "mixed_float16"

    @property
    def compute_dtype(self) -> str:
        """The dtype in which convolutions and matrix products run, e.g. ``bfloat16``."""
        return self.value.removeprefix("mixed_")


class Device(StrEnum):
    """The kind of device the step runs on; always the first one of its kind."""

    CPU = "cpu"
    GPU = "gpu"


class Variant(msgspec.Struct, frozen=True, order=True):
    """How a step is executed: an execution crossed with a precision."""

    execution: str
    precision: Precision

    def __post_init__(self) -> None:
        check_name("execution", self.execution)

    def __str__(self) -> str:
        return f"{self.execution}/{self.precision}"


class Case(msgspec.Struct, frozen=True, order=True):
    """One thing to measure.

    Raises:
        StepbenchError: for a combination that means nothing, such as several eager steps in one call.
    """

    workload: str
    variant: Variant
    device: Device
    batch_size: int
    steps_per_call: int = 1
    settings: tuple[Setting, ...] = ()
    """Those that are not the default, sorted by name."""

    def __post_init__(self) -> None:
        check_name("workload", self.workload)
        if self.batch_size < 1:
            raise StepbenchError(f"The batch size must be at least 1, not {self.batch_size}.")
        if self.steps_per_call < 1:
            raise StepbenchError(f"The steps per call must be at least 1, not {self.steps_per_call}.")
        if self.variant.execution in ONE_STEP_A_CALL and self.steps_per_call > 1:
            raise StepbenchError(
                f"The execution {self.variant.execution} runs one step a call: use graph or xla with --steps-per-call."
            )
        if [setting.name for setting in self.settings] != sorted({setting.name for setting in self.settings}):
            raise StepbenchError("A case has each setting once, in the order of their names.")

    @property
    def id(self) -> str:
        """``workload/execution/precision/device/b<batch>`` and the case's suffix."""
        return f"{self.workload}/{self.variant}/{self.device}/b{self.batch_size}{self.suffix}"

    @property
    def suffix(self) -> str:
        """The end of its id: see :func:`stepbench.records.settings.suffix`."""
        return suffix(self.steps_per_call, self.settings)

    @property
    def plain(self) -> Case:
        """The same case without any settings."""
        return msgspec.structs.replace(self, settings=())

    @property
    def reference(self) -> Case:
        """The case that this one's speed-up is measured against."""
        return Case(self.workload, Variant(EAGER, Precision.FLOAT32), self.device, self.batch_size)

    @property
    def anchor(self) -> Case:
        """The case whose trainings this one's are held against, unless a run has another that is as good."""
        return msgspec.structs.replace(self.reference, variant=Variant(GRAPH, Precision.FLOAT32))

    @property
    def group(self) -> tuple[str, Device, int]:
        """Cases of one group share a reference and are measured interleaved."""
        return (self.workload, self.device, self.batch_size)

    def __str__(self) -> str:
        return self.id


class Selection(msgspec.Struct, frozen=True):
    """The axes that a command line or a pytest marker spans; :meth:`cases` is their product."""

    workloads: tuple[str, ...]
    executions: tuple[str, ...] = DEFAULT_EXECUTIONS
    precisions: tuple[Precision, ...] = tuple(Precision)
    devices: tuple[Device, ...] = (Device.CPU,)
    batch_sizes: tuple[int, ...] = (64,)
    steps_per_call: tuple[int, ...] = (1,)
    settings: tuple[tuple[Setting, ...], ...] = ()
    """Of each setting the values that it is to have."""

    def cases(self) -> tuple[Case, ...]:
        """All cases, in order and each once; eager and keras only at one step a call.

        Raises:
            StepbenchError: when an axis holds something impossible or nothing is left to measure.
        """
        axes = itertools.product(
            *(self.workloads, self.devices, self.batch_sizes, self.executions, self.precisions, self.steps_per_call),
            itertools.product(*self.settings),
        )
        cases = dict.fromkeys(
            Case(workload, Variant(execution, precision), device, batch_size, steps, effective(settings, device))
            for workload, device, batch_size, execution, precision, steps, settings in axes
            if not (execution in ONE_STEP_A_CALL and steps > 1)
        )
        if not cases:
            raise StepbenchError(
                f"No case is left, as {' and '.join(ONE_STEP_A_CALL)} take one step a call: "
                "add graph or xla, or drop --steps-per-call."
            )
        return tuple(cases)


def effective(settings: Iterable[Setting], device: Device) -> tuple[Setting, ...]:
    """The settings that a case on that device has: neither defaults nor, on CPU, what only a GPU knows."""
    return tuple(
        sorted(
            setting
            for setting in settings
            if not setting.is_default and (device is Device.GPU or not setting.knob.needs_gpu)
        )
    )


EVALUATIONS = 5
"""At most, towards the end of one training of a verification."""
MAX_SEED = 2**32 - 1


class Verification(msgspec.Struct, frozen=True):
    """How convergence is verified."""

    seeds: int = 8
    """Paired trainings at most; fewer where the verdict is reached."""
    steps: int = 300
    """Steps of each training, and the length of the reference trajectory."""
    margin: float = 0.02
    """The difference in final training loss that does not matter, as a share of the reference's."""

    def __post_init__(self) -> None:
        if self.seeds < 0 or self.steps < 1 or not 0 < self.margin < 1:
            raise StepbenchError(
                "A verification takes 0 seeds or more, at least 1 step and a margin between 0% and 100%, "
                f"not {self.seeds} seeds, {self.steps} steps and {self.margin:.0%}."
            )

    @property
    def points(self) -> tuple[int, ...]:
        """The steps of the reference trajectory from which every variant takes one: early ones and late ones."""
        return tuple(point for point in (0, 1, 3, 10, 30, 100, 200, 300) if point <= self.steps)

    @property
    def tests(self) -> tuple[int, ...]:
        """After which steps a training is evaluated: several times towards its end.

        Accuracy jumps from step to step while a model learns fast, so one evaluation says less than the mean of some.
        """
        end = final_steps(self.steps)
        apart = -(-end // EVALUATIONS)
        return tuple(range(self.steps, self.steps - end, -apart))[::-1]


def final_steps(steps: int) -> int:
    """How many of a training's last steps count as its end: a third."""
    return -(-steps // 3)


FEWEST_CALLS = 4
"""In a trace, beside the first and the last: of fewer calls the viewer shows those two as well."""

LONGEST_TRACE_S = 10.0
"""About how long the calls of a trace may take, if they are more than the fewest."""


class Tracing(msgspec.Struct, frozen=True):
    """How traces are captured."""

    steps: int = 10
    """In one trace, about: calls are traced whole, and at least a few."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise StepbenchError(f"A trace takes at least 1 step, not {self.steps}.")

    @property
    def left_out(self) -> int:
        """Calls that are traced beside those asked for.

        The viewer shows neither the first nor the last step of a trace, which may be there in part only.
        """
        return 2

    def calls(self, case: Case) -> int:
        """How many calls of a case's step are asked for."""
        return max(FEWEST_CALLS, self.steps // case.steps_per_call)

    def calls_of(self, case: Case, call_s: float) -> int:
        """How many are traced, by how long one takes: of slow ones fewer, but enough."""
        return max(FEWEST_CALLS, min(self.calls(case), int(LONGEST_TRACE_S / call_s)))


class Plan(msgspec.Struct, frozen=True):
    """Everything that decides what a run measures; stored with it, and enough to resume it."""

    cases: tuple[Case, ...]
    workloads: dict[str, str]
    """The workloads' names and where each is found (see ``training.workload.load_workload``)."""
    data: str
    """The ``--data`` option."""
    plugins: tuple[str, ...] = ()
    replicates: int = 5
    """Fresh processes for each case; with none, nothing is timed."""
    rounds: int = 9
    """In one replicate; each round has a block of every case."""
    block_seconds: float = 0.1
    input_pipeline: bool = True
    timeout_s: float = 120.0
    """The longest that one order to a worker (prepare, one block) may take."""
    seed: int = 0
    verification: Verification | None = None
    """None if convergence is not verified."""
    tracing: Tracing | None = None
    """None if no traces are captured."""
    remarks: tuple[str, ...] = ()
    """What there is to say of how workloads were understood."""
    forks: bool = False
    """Whether workers are forked from one process a replicate, which has imported TensorFlow, not started each."""

    def __post_init__(self) -> None:
        # Without a verification or traces, a plan without replicates would measure nothing.
        fewest = 0 if self.verification or self.tracing else 1
        for name, value, least in (("replicates", self.replicates, fewest), ("rounds", self.rounds, 1)):
            if value < least:
                raise StepbenchError(f"The number of {name} must be at least {least}, not {value}.")
        if not self.timeout_s > 0:
            raise StepbenchError(f"The timeout must be above 0 s, not {self.timeout_s} s.")

    def with_cases(self, cases: tuple[Case, ...]) -> Self:
        """The same plan over other cases."""
        return msgspec.structs.replace(self, cases=cases)


def check_name(kind: str, name: str) -> None:
    """Refuse a name that could not stand in a case id.

    Raises:
        StepbenchError: when it is empty, too long, or holds a slash, a comma or a control character.
    """
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable() or set(name) & {"/", ","}:
        raise StepbenchError(
            f"{name[:80]!r} is no name for a {kind}: "
            f"use 1 to {MAX_NAME_LENGTH} printable characters without '/' or ','."
        )
