"""Raw measurements: what workers reported, and nothing derived from it.

A run is a list of events; :func:`assemble` folds them into one :class:`Measurement` a case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from stepbench.records.bounds import Amount, Count, Duration, Positive, Seconds
from stepbench.records.cases import Case, Device
from stepbench.records.machine import Noise
from stepbench.records.trace import Trace
from stepbench.records.verify import Agreement, Curve


class FailureKind(StrEnum):
    """Why a case has no number."""

    ERROR = "error"
    OUT_OF_MEMORY = "out_of_memory"
    CRASH = "crash"
    TIMEOUT = "timeout"
    COMPILE_ERROR = "compile_error"
    UNSUPPORTED = "unsupported"
    NON_FINITE = "non_finite"
    NOT_PROVED = "not_proved"


class Failure(msgspec.Struct, frozen=True):
    """A case's failure: its kind and one sentence."""

    kind: FailureKind
    message: str


class Phases(msgspec.Struct, frozen=True):
    """Seconds spent before the steady state, in the order in which they pass."""

    import_s: Seconds
    data_s: Seconds
    build_s: Seconds
    first_call_s: Seconds
    """The first call whole: trace, compile and run."""
    compile_s: Seconds
    """XLA's compilation within it; 0 where XLA compiled nothing."""
    warm_up_s: Seconds


class Evidence(msgspec.Struct, frozen=True):
    """What was observed of a case before its first block: raw facts for :mod:`stepbench.judge.proof`."""

    claims: str | None
    """What the execution says it is: ``eager``, ``graph``, ``xla``, or nothing."""
    traces: int
    """Functions traced by the first call."""
    function_calls: int
    """Compiled functions called by one step from eager code."""
    xla_compilations: int
    compute_ops: dict[str, dict[str, int]]
    """Convolutions and matrix products of one step: where they run (``eager``, ``graph``, ``xla``) → dtype → count."""
    variable_dtypes: tuple[str, ...]
    """Distinct dtypes of the trainable variables."""
    devices: tuple[str, ...]
    """Distinct kinds of device that hold the variables and the loss, such as ``cpu``."""
    batch_size: int
    loss: float | None
    """Of the first step; null when it is NaN or infinite."""
    eager_updates: int | None = None
    """Assignments to variables that one step makes outside of compiled functions; null in records of before."""
    compiles_itself: bool = False
    """Whether the user's own step is a compiled function already, so that nothing can run it eagerly."""
    output_dtypes: tuple[str, ...] = ()
    """Of the model's outputs, where it knows them before it is called."""
    other_products: tuple[str, ...] = ()
    """What the products outside the precision's compute dtype are called, some of them; none in records of before."""
    settings: dict[str, str] = {}
    """What each setting of the case was found to be; empty where there is no trace of it."""


class Block(msgspec.Struct, frozen=True):
    """Consecutive steps timed as one interval that ends when the device is done."""

    round: Count
    steps: Positive
    seconds: Duration
    loss: float | None
    """Of the block's last step; null when it is NaN or infinite."""
    noise: Noise
    leaked_cpu_s: Seconds = 0.0
    """Processor seconds that the stopped workers used meanwhile; more than 0 spoils the block."""
    energy_j: Amount | None = None
    """Used by the device meanwhile, where it counts that."""


class Work(msgspec.Struct, frozen=True):
    """What one step of a case has to compute, counted from the graph of the workload's own step."""

    flops: Amount
    """Floating-point operations a step in convolutions and matrix products, two for each multiply-add."""
    bytes: Amount
    """Moved a step if no tensor stayed in a cache: the sizes of all operations' inputs and outputs."""
    examples: Count
    """In the training set; 0 where a pipeline does not know."""
    uncounted: tuple[str, ...] = ()
    """What the step holds beside, whose work is not known: the figures above are without it."""


class Attainable(msgspec.Struct, frozen=True):
    """What a device was seen to attain in this run, for others to be held against."""

    device: Device
    flops: dict[str, Amount]
    """Floating-point operations a second of a large matrix product, by the dtype it computes in."""
    bandwidth: Amount
    """Bytes a second between the device and its memory."""
    name: str | None = None
    """What the driver calls the accelerator; null on CPU."""
    tensor_float_32: bool | None = None
    """Whether TensorFlow let products in float32 round their factors to TensorFloat-32; null on CPU."""


class InputWait(msgspec.Struct, frozen=True):
    """One block fed by a ``tf.data`` pipeline instead of the ring."""

    steps: Positive
    seconds: Duration
    wait_s: Seconds
    """Seconds of it spent waiting for the next batch."""


class Closing(msgspec.Struct, frozen=True):
    """What a worker reported after its last block."""

    traces: int
    """Functions traced while blocks were timed."""
    xla_compilations: int
    """XLA compilations while blocks were timed."""
    baseline_rss_bytes: int
    """Resident memory before the model was built."""
    peak_rss_bytes: int
    device_peak_bytes: int | None
    """Peak of the accelerator's memory, as TensorFlow counts it; null on CPU."""
    input_wait: InputWait | None = None
    finite_variables: bool = True
    """Whether no variable held a NaN or an infinity after the last block."""
    peaks_bytes: dict[str, int] = {}
    """Peak of memory in each phase (``build``, ``first call``, ``steps``), counted as ``peak_memory_bytes`` is."""


class Replicate(msgspec.Struct, frozen=True):
    """All that one fresh worker process measured of a case."""

    number: int
    """Equal for the processes that ran interleaved."""
    phases: Phases
    evidence: Evidence
    blocks: tuple[Block, ...] = ()
    closing: Closing | None = None
    """Absent when the replicate was cut short."""


class Measurement(msgspec.Struct, frozen=True):
    """Everything measured of a case."""

    case: Case
    replicates: tuple[Replicate, ...] = ()
    failure: Failure | None = None
    agreement: Agreement | None = None
    """Level 1 of its verification."""
    curves: tuple[Curve, ...] = ()
    """Level 2 of its verification, where it trained itself."""
    verification_failure: Failure | None = None
    trace: Trace | None = None
    trace_failure: Failure | None = None
    work: Work | None = None
    work_failure: Failure | None = None


class ReplicateStarted(msgspec.Struct, frozen=True, tag="started"):
    """A worker is warm and ready to be timed."""

    case: str
    replicate: int
    phases: Phases
    evidence: Evidence


class BlockMeasured(msgspec.Struct, frozen=True, tag="block"):
    """A block was timed."""

    case: str
    replicate: int
    block: Block


class ReplicateEnded(msgspec.Struct, frozen=True, tag="ended"):
    """A worker finished all its blocks."""

    case: str
    replicate: int
    closing: Closing


class CaseFailed(msgspec.Struct, frozen=True, tag="failed"):
    """A case failed and is not measured further."""

    case: str
    replicate: int
    failure: Failure


class AgreementMeasured(msgspec.Struct, frozen=True, tag="agreement"):
    """Level 1 of a case's verification is done."""

    case: str
    agreement: Agreement


class CurveMeasured(msgspec.Struct, frozen=True, tag="curve"):
    """One training of a case's verification is done."""

    case: str
    curve: Curve


class VerificationFailed(msgspec.Struct, frozen=True, tag="verification_failed"):
    """A case could not be verified; its timing stands."""

    case: str
    failure: Failure


class TraceCaptured(msgspec.Struct, frozen=True, tag="trace"):
    """A trace of a case was captured and accepted."""

    case: str
    trace: Trace


class TraceFailed(msgspec.Struct, frozen=True, tag="trace_failed"):
    """A case could not be traced; its timing stands."""

    case: str
    failure: Failure


class WorkCounted(msgspec.Struct, frozen=True, tag="work"):
    """What a step of a case computes was counted."""

    case: str
    work: Work


class WorkFailed(msgspec.Struct, frozen=True, tag="work_failed"):
    """What a step of a case computes could not be counted; its timing stands."""

    case: str
    failure: Failure


TimingEvent = ReplicateStarted | BlockMeasured | ReplicateEnded | CaseFailed
VerifyingEvent = AgreementMeasured | CurveMeasured | VerificationFailed
TracingEvent = TraceCaptured | TraceFailed
AssessingEvent = WorkCounted | WorkFailed
Event = TimingEvent | VerifyingEvent | TracingEvent | AssessingEvent


_FIELDS: dict[type[Event], tuple[str, str]] = {
    AgreementMeasured: ("agreement", "agreement"),
    VerificationFailed: ("verification_failure", "failure"),
    TraceCaptured: ("trace", "trace"),
    TraceFailed: ("trace_failure", "failure"),
    WorkCounted: ("work", "work"),
    WorkFailed: ("work_failure", "failure"),
}
"""Which field of a measurement an event sets, and from which of its own."""


def assemble(cases: Sequence[Case], events: Iterable[Event]) -> tuple[Measurement, ...]:
    """Fold ``events`` into one measurement for each of ``cases``, in their order; other cases' events are left out.

    Raises:
        ValueError: for a block or an end of a replicate that never started.
    """
    measurements = {case.id: Measurement(case) for case in cases}
    for event in events:
        if event.case in measurements:
            measurements[event.case] = grown(measurements[event.case], event)
    return tuple(measurements[case.id] for case in cases)


def grown(measurement: Measurement, event: Event) -> Measurement:
    """The measurement with what ``event`` adds.

    Raises:
        ValueError: for a block or an end of a replicate that never started.
    """
    changed: dict[str, object]
    match event:
        case ReplicateStarted():
            started = Replicate(event.replicate, event.phases, event.evidence)
            changed = {"replicates": (*measurement.replicates, started)}
        case BlockMeasured() | ReplicateEnded():
            if event.replicate not in {replicate.number for replicate in measurement.replicates}:
                raise ValueError(f"replicate {event.replicate} of {event.case} never started")
            grown = (
                _grown_replicate(replicate, event) if replicate.number == event.replicate else replicate
                for replicate in measurement.replicates
            )
            changed = {"replicates": tuple(grown)}
        case CaseFailed():
            changed = {"failure": measurement.failure or event.failure}
        case CurveMeasured():
            changed = {"curves": (*measurement.curves, event.curve)}
        case _:
            field, attribute = _FIELDS[type(event)]
            changed = {field: getattr(event, attribute)}
    return msgspec.structs.replace(measurement, **changed)


def _grown_replicate(replicate: Replicate, event: BlockMeasured | ReplicateEnded) -> Replicate:
    if isinstance(event, BlockMeasured):
        return msgspec.structs.replace(replicate, blocks=(*replicate.blocks, event.block))
    return msgspec.structs.replace(replicate, closing=event.closing)
