"""What a traced step's time went to.

Operations run on several threads at once, so their durations add up to more than the step. Here every instant of a step
is shared out equally among the operations that run in it. Where none does, it goes to the host or, inside a compiled
function, to a gap before the operation that runs next. What all of them get then adds up to the step. This is the
exclusive time of a flat profile (Graham, Kessler and McKusick, gprof, SIGPLAN Notices 17(6), 1982) for intervals that
overlap.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stepbench.records.trace import GAP, HOST, Operation

PICOSECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted, in picoseconds of the trace's clock."""

    start: int
    end: int
    thread: int
    name: str
    kind: str = ""
    part: str | None = None
    """None where its part is that of the mark around it."""


@dataclass(frozen=True)
class Timeline:
    """What a trace holds of its steps."""

    steps: Sequence[Span]
    operations: Sequence[Span]
    """Each computing; of nested ones the innermost counts."""
    marks: Sequence[Span]
    """Parts of the step that the host passes through, not overlapping: eager ones."""
    functions: Sequence[Span]
    """While the host waits for compiled functions."""


Key = tuple[str, str, str]
"""Part, name and kind of an :class:`~stepbench.records.trace.Operation`."""


def operations_of(timeline: Timeline, steps_per_mark: int = 1) -> tuple[Operation, ...]:
    """What operations took of an average step; their seconds add up to the mean length of the steps.

    Args:
        timeline: of at least one step.
        steps_per_mark: how many training steps each marked step holds.

    Returns:
        Longest first.
    """
    seconds: defaultdict[Key, int] = defaultdict(int)
    calls: defaultdict[Key, int] = defaultdict(int)
    innermost = list(_innermost(timeline.operations))
    for step in timeline.steps:
        inside = [span for span in innermost if span.start < step.end and span.end > step.start]
        for span in {id(span.whole): span for span in inside}.values():
            calls[_key(span.whole, timeline.marks)] += step.start <= span.whole.start
        for key, length in _shares(step, inside, timeline):
            seconds[key] += length
    steps = len(timeline.steps) * steps_per_mark
    found = [Operation(*key, calls[key] / steps, length / PICOSECONDS / steps) for key, length in seconds.items()]
    return tuple(sorted(found, key=lambda operation: -operation.seconds))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a span in which no other span is nested."""

    start: int
    end: int
    whole: Span


def _innermost(spans: Iterable[Span]) -> Iterable[_Piece]:
    """Cut spans, thread by thread, such that at each instant only the innermost is left."""
    by_thread: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_thread[span.thread].append(span)
    for mine in by_thread.values():
        yield from _innermost_of_thread(sorted(mine, key=lambda span: (span.start, -span.end)))


def _innermost_of_thread(spans: Sequence[Span]) -> Iterable[_Piece]:
    stack: list[Span] = []
    now = 0
    for span in spans:
        while stack and stack[-1].end <= span.start:
            ended = stack.pop()
            yield from _piece(now, ended.end, ended)
            now = max(now, ended.end)
        if stack:
            yield from _piece(now, span.start, stack[-1])
        now = max(now, span.start)
        stack.append(span)
    while stack:
        ended = stack.pop()
        yield from _piece(now, ended.end, ended)
        now = max(now, ended.end)


def _piece(start: int, end: int, whole: Span) -> Iterable[_Piece]:
    if start < end:
        yield _Piece(start, end, whole)


def _shares(step: Span, pieces: Sequence[_Piece], timeline: Timeline) -> Iterable[tuple[Key, int]]:
    """Share out each instant of ``step``."""
    waiting = sorted(pieces, key=lambda piece: piece.start)
    running: list[tuple[int, int, _Piece]] = []
    edges = {step.start, step.end}
    for spans in (pieces, timeline.marks, timeline.functions):
        edges.update(edge for span in spans for edge in (span.start, span.end) if step.start < edge < step.end)
    position = 0
    for start, end in pairwise(sorted(edges)):
        while position < len(waiting) and waiting[position].start <= start:
            heapq.heappush(running, (waiting[position].end, position, waiting[position]))
            position += 1
        while running and running[0][0] <= start:
            heapq.heappop(running)
        if running:
            share, rest = divmod(end - start, len(running))
            for index, (_, _, piece) in enumerate(running):
                yield _key(piece.whole, timeline.marks), share + (index < rest)
        elif function := _at(start, timeline.functions):
            following = waiting[position].whole if position < len(waiting) else None
            awaited = following if following and following.start < function.end else None
            yield (_key(awaited, timeline.marks)[0] if awaited else "", GAP, GAP), end - start
        else:
            mark = _at(start, timeline.marks)
            yield (mark.name if mark else "", HOST, HOST), end - start


def _key(span: Span, marks: Sequence[Span]) -> Key:
    part = span.part
    if part is None:
        mark = _at(span.start, marks)
        part = mark.name if mark else ""
    return part, span.name, span.kind


def _at(instant: int, spans: Sequence[Span]) -> Span | None:
    """The last of ``spans``, which are sorted and do not overlap, if it holds ``instant``."""
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        if spans[middle].start <= instant:
            low = middle + 1
        else:
            high = middle
    found = spans[low - 1] if low else None
    return found if found and instant < found.end else None
