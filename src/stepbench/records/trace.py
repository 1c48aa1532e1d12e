"""Raw evidence from a profiler trace: what ran in a traced step, and what is known of the trace itself."""

from __future__ import annotations

import re

import msgspec

from stepbench.records.bounds import Amount, Count, Duration, Seconds

HOST = "(host)"
"""The kind of time in which the host works and nothing that it launched does: Python, and dispatch to kernels."""
GAP = "(gap)"
"""The kind of time inside a compiled function in which none of its operations runs."""
PARTS = ("forward", "loss", "backward", "update", "metrics")
"""What the one train step marks, in order. Time outside them has the part ``""``."""


MOST_EVENTS = 1_000_000
"""Beyond these the trace viewer leaves events out."""


def part_of(name: str) -> str:
    """The part of the step that an operation's name in the graph says it belongs to, or an empty string."""
    scopes = name.split("/")
    # The tape names a gradient after the operation that it differentiates.
    if "gradient_tape" in scopes:
        return "backward"
    # The second forward pass of a step is named forward_1.
    bare = (re.sub(r"_\d+$", "", scope) for scope in scopes)
    return next((scope for scope in bare if scope in PARTS), "")


class Operation(msgspec.Struct, frozen=True, array_like=True):
    """What one operation, or all eager ones of one type in one part, took of an average traced step."""

    part: str
    """One of :data:`PARTS`, or empty."""
    name: str
    """In the graph, with its scopes; eager operations have none and show their type."""
    kind: str
    """The type, such as ``Conv2D``, or :data:`HOST` or :data:`GAP`."""
    calls: Amount
    """A step."""
    seconds: Seconds
    """Of wall time a step. Where several operations ran at once, each has an equal share, so all of them add up."""


class TraceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a trace, right after its capture."""

    cases: tuple[str, ...]
    """The ids of the cases that its steps say they belong to."""
    steps: tuple[int, ...]
    """The numbers of the steps marked in it, in order of time."""
    events: int
    problems: tuple[str, ...]
    """What the profiler itself says went wrong, such as dropped events."""
    device_events: int
    """Events on accelerators."""
    xla_events: int
    """Operations of XLA modules."""
    modules: int
    """XLA modules whose definition lies in the trace."""
    overview_steps: int
    """Steps in the viewer's overview."""
    tools: dict[str, str | None]
    """The viewer's tools that offer themselves for the trace: null, or why the trace cannot be converted for it."""
    asked: Count | None = None
    """Whole calls that were to be traced: of slow ones fewer than usual; null in records of before."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A captured trace of a case."""

    path: str
    """Of its folder, which TensorBoard calls a session."""
    facts: TraceFacts
    step_s: Duration
    """Mean seconds a step, traced."""
    untraced_step_s: Duration
    """The same in the same process, with the profiler off, before and after."""
    operations: tuple[Operation, ...]
