"""What the pool and its workers say to each other: one JSON object a line."""

from __future__ import annotations

from typing import Generic, TypeVar, get_args

import msgspec

from stepbench.records.cases import Case, Device, Precision, Tracing
from stepbench.records.doctor import TensorFlowFacts
from stepbench.records.run import Attainable, Block, Closing, Evidence, Failure, Phases, Work
from stepbench.records.trace import Trace
from stepbench.records.verify import Agreement, Curve, Point

WORKER_ENVIRONMENT = {
    # TensorFlow logs each XLA compilation with its duration under these two: evidence that there was one.
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_CPP_VMODULE": "device_compiler=1",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
}
"""What every worker finds in its environment, beside what the user has set."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """TensorFlow is imported; sent unasked."""

    import_s: float


class Written(msgspec.Struct, frozen=True):
    """How the step runs as its author wrote it."""

    execution: str
    precision: Precision = Precision.FLOAT32
    steps_per_call: int = 1
    training_steps: int | None = None
    """Of the whole training, where that is known."""


class Described(msgspec.Struct, frozen=True, tag="described"):
    """The workloads' names and their places; the data set's name; the devices that TensorFlow sees."""

    workloads: dict[str, str]
    data: str
    devices: tuple[str, ...]
    batch_sizes: dict[str, int] = {}
    """Each workload's usual one."""
    remarks: tuple[str, ...] = ()
    """What there is to say of how workloads were understood."""
    written: dict[str, Written] = {}
    """Of the workloads that are compiled models."""


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """The case is warm."""

    phases: Phases
    evidence: Evidence
    calls: int = 0
    """In a block; 0 if a worker of an earlier stepbench, which a gate may measure, does not tell."""


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """A block was timed."""

    block: Block


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The worker is about to exit."""

    closing: Closing
    imported: tuple[str, ...] | None = None
    """Files of the revision that were imported, from its folder; null from a worker of an earlier stepbench."""


class TrajectoryMade(msgspec.Struct, frozen=True, tag="trajectory_made"):
    """The trajectory is in its folder."""

    references: dict[str, str]
    """By precision, the dtype of the reference step."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A case is built."""


class Agreed(msgspec.Struct, frozen=True, tag="agreed"):
    """Level 1 is done."""

    agreement: Agreement


class Trained(msgspec.Struct, frozen=True, tag="trained"):
    """One training of level 2 is done."""

    curve: Curve


class Recomputed(msgspec.Struct, frozen=True, tag="recomputed"):
    """What a case did as it trained is compared."""

    points: tuple[Point, ...]


class Captured(msgspec.Struct, frozen=True, tag="captured"):
    """A trace lies in its folder."""

    evidence: Evidence
    trace: Trace


class Attained(msgspec.Struct, frozen=True, tag="attained"):
    """The device was measured."""

    attainable: Attainable


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """The steps were counted, in the order's order."""

    works: tuple[Work, ...]


class Examined(msgspec.Struct, frozen=True, tag="examined"):
    """TensorFlow has been looked at."""

    facts: TensorFlowFacts


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The order could not be carried out; the worker exits."""

    failure: Failure


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """What the user asked for is wrong; the worker exits."""

    message: str


Reply = (
    Hello
    | Described
    | Prepared
    | Measured
    | Closed
    | TrajectoryMade
    | Ready
    | Agreed
    | Trained
    | Recomputed
    | Captured
    | Attained
    | Counted
    | Examined
    | Failed
    | Refused
)


ReplyT = TypeVar("ReplyT")


class AnsweredBy(msgspec.Struct, Generic[ReplyT], frozen=True):
    """An order; what comes back is a reply of the type named here, or :class:`Failed` or :class:`Refused`."""

    @classmethod
    def reply_type(cls) -> type[ReplyT]:
        """The type of the reply, for decoding it."""
        (base,) = vars(cls)["__orig_bases__"]
        reply: type[ReplyT] = get_args(base)[0]
        return reply


class Describe(AnsweredBy[Described], frozen=True, tag="describe"):
    """Load what the user named and say what it is."""

    workloads: tuple[str, ...]
    executions: tuple[str, ...]
    plugins: tuple[str, ...]
    data: str
    batch_sizes: tuple[int, ...] = ()
    """That are asked for; each workload's own if empty."""


class Prepare(AnsweredBy[Prepared], frozen=True, tag="prepare"):
    """Build a case, call it once, warm it up and gather evidence."""

    case: Case
    workload: str
    plugins: tuple[str, ...]
    data: str
    seed: int
    block_seconds: float
    slowdown: float = 0.0
    """Planted to calibrate: after each call the processor is kept busy for this share of the call's time."""
    root: str = ""
    """The folder of the revision to measure."""
    elsewhere: str = ""
    """The folder of another one, of which nothing may be imported; there is none if empty."""


class Measure(AnsweredBy[Measured], frozen=True, tag="measure"):
    """Time one block."""

    round: int
    calls: int = 0
    """As many as take the block's seconds, if 0."""


class Close(AnsweredBy[Closed], frozen=True, tag="close"):
    """Say what there is to say at the end and exit."""

    input_pipeline: bool


class MakeTrajectory(AnsweredBy[TrajectoryMade], frozen=True, tag="make_trajectory"):
    """Write the reference trajectory of cases that share a reference to ``folder``."""

    workload: str
    data: str
    device: Device
    cases: tuple[Case, ...]
    seed: int
    points: tuple[int, ...]
    folder: str


class MakeReady(AnsweredBy[Ready], frozen=True, tag="make_ready"):
    """Build a case and, if it is built in, call its step once, which compiles it; what that changes is put back."""

    case: Case
    workload: str
    plugins: tuple[str, ...]
    data: str
    seed: int


class Agree(AnsweredBy[Agreed], frozen=True, tag="agree"):
    """Build a case and take a step from each point of a trajectory."""

    case: Case
    workload: str
    plugins: tuple[str, ...]
    data: str
    seed: int
    folder: str


class Train(AnsweredBy[Trained], frozen=True, tag="train"):
    """Train a case, the same one each time, for some steps."""

    case: Case
    workload: str
    plugins: tuple[str, ...]
    data: str
    seed: int
    steps: int
    tests: tuple[int, ...]
    """After how many steps to evaluate."""
    points: tuple[int, ...] = ()
    """After how many steps to keep the next one, for the reference to take it too."""
    folder: str = ""
    """For what is kept."""


class Recompute(AnsweredBy[Recomputed], frozen=True, tag="recompute"):
    """Take the steps that a case kept as it trained, and compare; asked of who made the trajectory."""

    case: Case
    folder: str


class Capture(AnsweredBy[Captured], frozen=True, tag="capture"):
    """Make a case ready and trace it into ``folder``."""

    prepare: Prepare
    settings: Tracing
    folder: str


class Attain(AnsweredBy[Attained], frozen=True, tag="attain"):
    """Find out how fast a device can compute and move data at most."""

    device: Device
    dtypes: tuple[str, ...]
    memory_bytes: int
    """How much memory that may take."""


class Count(AnsweredBy[Counted], frozen=True, tag="count"):
    """Count what a workload's own step computes."""

    workload: str
    data: str
    steps: tuple[tuple[Precision, int], ...]
    """At which precisions and batch sizes."""


class Examine(AnsweredBy[Examined], frozen=True, tag="examine"):
    """Say what TensorFlow is like here."""


Order = (
    Describe
    | Prepare
    | Measure
    | Close
    | MakeTrajectory
    | MakeReady
    | Agree
    | Train
    | Recompute
    | Capture
    | Attain
    | Count
    | Examine
)
