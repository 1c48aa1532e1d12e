"""Raw evidence about convergence: what one step does from a given state, and how free-running training goes."""

from __future__ import annotations

import msgspec

from stepbench.records.bounds import Seconds


class TensorError(msgspec.Struct, frozen=True):
    """How one tensor differs from what it should be. Norms are Euclidean over all its elements."""

    name: str
    error: float | None
    """Norm of the difference over the norm of the right value; null when it is not finite."""
    log_norm_ratio: float | None
    """Natural logarithm of its norm over the right one's: positive when it is too long."""
    yardstick: float
    """The ``error`` that honest rounding at the variant's precision brings about here."""
    jump: float = 0.0
    """The ``error`` that rounding may bring about once in a while, when it tips a unit or a maximum over."""


class Point(msgspec.Struct, frozen=True):
    """One step from a state of the reference trajectory, or of a training of the case itself."""

    step: int
    """How many steps lead to it."""
    loss: TensorError
    gradients: tuple[TensorError, ...]
    """Against the reference gradients; empty where they cannot be observed or compared."""
    updates: tuple[TensorError, ...]
    """The weights' change against what the optimizer, in float64, makes of the variant's own gradients."""
    slots: tuple[TensorError, ...]
    """The optimizer's variables after the step, likewise."""
    statistics: tuple[TensorError, ...]
    """Variables that are not trained, such as moving averages, after the step."""
    skipped: int
    """Steps that dynamic loss scaling skipped before one was taken."""
    digest: str
    """Of all weights after the step: equal for bit-identical results."""
    changes: tuple[TensorError, ...] = ()
    """The weights' change over the call that is timed, against the reference's."""


class Agreement(msgspec.Struct, frozen=True):
    """Level 1 of a case: its step at all points of the reference trajectory."""

    reference: str
    """The dtype of the reference step: ``float64``, or ``float32`` where no float64 build is possible."""
    not_comparable: str | None
    """Why gradients cannot be compared, if so."""
    gradients_seen: bool
    """Whether the step's gradients could be observed."""
    step_s: Seconds
    """Roughly how long a step takes, to choose which variant trains on behalf of others."""
    points: tuple[Point, ...]
    remark: str = ""
    """Why the reference is not float64, if so."""


class Test(msgspec.Struct, frozen=True):
    """One evaluation in the course of a training."""

    step: int
    """Steps done before it."""
    loss: float | None = None
    """Null, as the others, when it is NaN or infinite."""
    accuracy: float | None = None
    """In records of before; now among the figures."""
    figures: dict[str, float | None] = {}
    """What was evaluated beside the loss, by name."""


class Fault(msgspec.Struct, frozen=True):
    """An update of a training that is not what the optimizer makes of the gradients, or not of these gradients."""

    step: int
    """Steps done before it."""
    what: str


class Curve(msgspec.Struct, frozen=True):
    """Level 2 of a case: one free-running training."""

    seed: int
    losses: tuple[float | None, ...]
    """The loss of each step; null, and the last, when it is NaN or infinite."""
    tests: tuple[Test, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Of the updates, the first ones."""
    audited: int = 0
    """Updates that were looked at."""
    initial: str = ""
    """Digest of the weights that the training began with."""
    points: tuple[Point, ...] = ()
    """Some of its steps, drawn at random, against the reference's from the same state."""
    not_recomputed: str = ""
    """Why there are none, if the reference was lost."""
