"""Raw measurements of two revisions side by side, and nothing derived from them."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from stepbench.errors import StepbenchError
from stepbench.records.bounds import Count, Duration, Fraction, Seconds
from stepbench.records.cases import Case, Plan
from stepbench.records.machine import Environment
from stepbench.records.run import Failure
from stepbench.records.trace import Trace

SCHEMA = 1
RAREST = 1e-6
"""False alarms that a gate may be asked to keep to."""
MOST_PAIRS = 10_000


class SideName(StrEnum):
    """Which of the two revisions."""

    BASE = "base"
    HEAD = "head"


class Revision(msgspec.Struct, frozen=True):
    """What one side measures."""

    name: str
    """As the user named it; empty for the working tree."""
    commit: str
    dirty: bool = False
    """Whether the working tree differs from its commit."""


class Quad(msgspec.Struct, frozen=True, array_like=True):
    """Four blocks in the order ABBA or BAAB: linear drift of the machine cancels. Seconds a step."""

    base: tuple[Duration, Duration]
    head: tuple[Duration, Duration]


class SideFacts(msgspec.Struct, frozen=True):
    """What one process of a pair showed beside its blocks."""

    functions_traced: Count = msgspec.field(name="traces")
    """In the first call and later; the profiler's traces are the case's."""
    first_call_s: Seconds
    peak_memory_bytes: Count
    """Device memory on an accelerator; on CPU, resident memory above what the process held before the model."""
    changed_imported: Count | None = None
    """How many of the files that differ between the revisions it had imported; null where that is not known."""


class Disturbance(msgspec.Struct, frozen=True):
    """What else went on on the machine, in cores on average."""

    others: float
    """Used by processes that are not ours."""
    stolen: float
    """Given to other machines by the hypervisor."""


class Pair(msgspec.Struct, frozen=True):
    """One fresh process of each side, measured in turn: the unit of inference."""

    number: Count
    quads: Annotated[tuple[Quad, ...], Meta(min_length=1)]
    base: SideFacts
    head: SideFacts
    seconds: Seconds
    """That it took, its processes' start included."""
    load: Disturbance | None = None


class Broken(msgspec.Struct, frozen=True):
    """A side that does not run."""

    side: SideName
    failure: Failure


class GateCase(msgspec.Struct, frozen=True):
    """All that a gate measured of one case."""

    case: Case
    pairs: tuple[Pair, ...] = ()
    broken: Broken | None = None
    traces: dict[SideName, Trace] = {}
    """Of a case that is slower, for the difference to be explained."""
    untraced: str = ""
    """Why a case that is slower lacks a trace; empty if it does not."""


class GateSettings(msgspec.Struct, frozen=True):
    """How a gate decides."""

    threshold: float = 0.02
    """The slowdown that matters, as a share."""
    false_alarms: float = 0.02
    """The chance, at most, to call a case that is no slower a regression, over all looks, checks and cases."""
    budget_s: float = 180.0
    """About how long to measure at most."""
    pairs: int = 20
    """At most, for one case."""

    def __post_init__(self) -> None:
        sound = 0 < self.threshold < 1 and RAREST <= self.false_alarms < 1 and self.budget_s > 0
        if not (sound and 1 <= self.pairs <= MOST_PAIRS):
            raise StepbenchError(
                f"A gate takes a threshold above 0% and below 100%, not {self.threshold:.0%}, some time, and 1 to "
                f"{MOST_PAIRS} pairs, and keeps to false alarms of at least {RAREST:g}."
            )


class CalibrationGate(msgspec.Struct, frozen=True):
    """One gate of known truth."""

    slowdown: Fraction
    """Planted in head, as a share of the step time."""
    found: GateCase


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Many gates of known truth, of one case on one machine."""

    schema: int = SCHEMA
    calibration_id: str
    started: dt.datetime
    command: tuple[str, ...]
    environment: Environment
    plan: Plan
    slowdowns: tuple[Fraction, ...]
    settings: GateSettings
    gates: tuple[CalibrationGate, ...] = ()


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of two revisions."""

    schema: int = SCHEMA
    gate_id: str
    started: dt.datetime
    command: tuple[str, ...]
    environment: Environment
    data: str
    base: Revision
    head: Revision
    commits: tuple[str, ...] = ()
    """Those that head has and base has not, newest first: abbreviated hash and subject."""
    changed: Count = 0
    """Files that differ between the two."""
    settings: GateSettings
    cases: tuple[GateCase, ...]
