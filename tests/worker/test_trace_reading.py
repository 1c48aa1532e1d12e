from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbench.records.trace import GAP, HOST
from stepbench.worker.trace_reading import PICOSECONDS, Span, Timeline, operations_of

STEP = Span(0, 100, 0, "train")
UNIT = 2520
"""Picoseconds: as many can be shared out equally among any number of operations up to ten."""


def ran(start: int, end: int, kind: str = "A", thread: int = 0, part: str | None = "") -> Span:
    return Span(start, end, thread, kind, kind, part)


def mark(start: int, end: int, name: str = "forward") -> Span:
    return Span(start, end, 0, name)


def timeline(
    *operations: Span, steps: Sequence[Span] = (STEP,), marks: Sequence[Span] = (), functions: Sequence[Span] = ()
) -> Timeline:
    return Timeline(steps, operations, marks, functions)


def shared(found: Timeline) -> dict[tuple[str, str], int]:
    """Picoseconds by part and kind, of all steps together."""
    return {
        (operation.part, operation.kind): round(operation.seconds * PICOSECONDS * len(found.steps))
        for operation in operations_of(found)
    }


def test_a_step_of_one_operation_is_that_operations_and_the_hosts() -> None:
    (host, operation) = operations_of(timeline(ran(10, 40, part="forward")))
    assert (operation.part, operation.name, operation.kind, operation.calls) == ("forward", "A", "A", 1)
    assert (host.part, host.name, host.kind, host.calls) == ("", HOST, HOST, 0)
    assert (operation.seconds, host.seconds) == pytest.approx((30e-12, 70e-12))


def test_of_nested_operations_that_begin_together_the_shorter_is_the_innermost() -> None:
    spans = [ran(0, 40, "inner"), ran(0, 100, "outer"), ran(0, 10, "innermost")]
    for order in (spans, spans[::-1]):
        assert shared(timeline(*order)) == {("", "innermost"): 10, ("", "inner"): 30, ("", "outer"): 60}


def test_an_operation_that_sticks_out_of_the_step_counts_inside_only_and_is_called_where_it_begins() -> None:
    step = Span(50, 150, 0, "train")
    after, before = operations_of(timeline(ran(0, 80, "before"), ran(70, 500, "after", thread=1), steps=[step]))
    assert (before.name, after.name) == ("before", "after")
    assert (before.seconds, after.seconds) == pytest.approx((25e-12, 75e-12))
    assert (before.calls, after.calls) == (0, 1)


def test_where_nothing_runs_it_is_the_host_outside_a_function_and_a_gap_inside() -> None:
    found = timeline(ran(30, 40), functions=[Span(20, 90, 0, "function")])
    assert shared(found) == {("", HOST): 20 + 10, ("", GAP): 10 + 50, ("", "A"): 10}


def test_a_gap_takes_the_part_of_the_operation_that_follows_in_its_function() -> None:
    found = timeline(
        ran(10, 20, part="forward"), ran(50, 70, part="backward"), ran(70, 80, part="update"), functions=[STEP]
    )
    gaps = {part: length for (part, kind), length in shared(found).items() if kind == GAP}
    assert gaps == {"forward": 10, "backward": 30, "": 20}
    functions = [Span(0, 40, 0, "one"), Span(50, 100, 0, "two")]
    found = timeline(ran(0, 10, part="forward"), ran(60, 100, part="update"), functions=functions)
    gaps = {part: length for (part, kind), length in shared(found).items() if kind == GAP}
    assert gaps == {"": 30, "update": 10}


def test_marks_give_eager_operations_and_the_host_their_part_unless_they_have_one() -> None:
    marks = [mark(10, 40, "forward"), mark(50, 90, "update")]
    found = timeline(ran(20, 30, part=None), ran(60, 80, part=None), ran(92, 96, part=None), marks=marks)
    assert shared(found) == {
        ("forward", "A"): 10,
        ("forward", HOST): 20,
        ("update", "A"): 20,
        ("update", HOST): 20,
        ("", "A"): 4,
        ("", HOST): 10 + 10 + 6,
    }
    found = timeline(ran(0, 60, part="backward"), ran(60, 100, part=""), marks=[mark(0, 100, "forward")])
    assert shared(found) == {("backward", "A"): 60, ("", "A"): 40}


def test_steps_are_averaged_also_where_a_mark_holds_several() -> None:
    steps = [mark(0, 100), mark(200, 400)]
    operations = [ran(0, 100), ran(200, 300), ran(300, 400)]
    (one,) = operations_of(timeline(*operations, steps=steps))
    (eighth,) = operations_of(timeline(*operations, steps=steps), steps_per_mark=8)
    assert (one.seconds, one.calls) == pytest.approx((150e-12, 1.5))
    assert (eighth.seconds, eighth.calls) == pytest.approx((150e-12 / 8, 1.5 / 8))


def test_the_longest_come_first() -> None:
    found = operations_of(timeline(ran(0, 10, "short"), ran(10, 90, "long"), ran(90, 100, "short too")))
    seconds = [operation.seconds for operation in found]
    assert seconds == sorted(seconds, reverse=True)
    assert found[0].name == "long"


instants = st.integers(0, 20)


@st.composite
def apart(draw: st.DrawFn, names: Sequence[str], at_least: int = 0) -> list[Span]:
    """Spans that are sorted and do not overlap."""
    cuts = draw(st.lists(instants, min_size=2 * at_least, max_size=6, unique=True).map(sorted))
    pairs = [pair for index, pair in enumerate(pairwise(cuts)) if index % 2 == 0]
    return [Span(UNIT * start, UNIT * end, 0, draw(st.sampled_from(names))) for start, end in pairs]


@st.composite
def operations(draw: st.DrawFn) -> Span:
    start, end = sorted((draw(instants), draw(instants)))
    part = draw(st.sampled_from([None, "", "forward", "update"]))
    return ran(UNIT * start, UNIT * end, draw(st.sampled_from("ABC")), draw(st.integers(0, 3)), part)


timelines = st.builds(
    Timeline,
    apart(["train"], at_least=1),
    st.lists(operations(), max_size=6),
    apart(["forward", "update"]),
    apart(["function"]),
)


@settings(deadline=None)
@given(timelines, st.integers(1, 8))
def test_all_operations_add_up_exactly_to_the_mean_step(found: Timeline, steps_per_mark: int) -> None:
    steps = len(found.steps) * steps_per_mark
    picoseconds = [operation.seconds * PICOSECONDS * steps for operation in operations_of(found, steps_per_mark)]
    assert sum(round(share) for share in picoseconds) == sum(step.end - step.start for step in found.steps)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120), st.integers(0, 6)), max_size=20))
def test_not_a_picosecond_is_lost_where_it_cannot_be_shared_equally(ends: list[tuple[int, int, int]]) -> None:
    spans = [ran(min(ends), max(ends), f"{thread}", thread) for *ends, thread in ends]
    assert sum(shared(timeline(*spans)).values()) == STEP.end - STEP.start


def counted(found: Timeline) -> tuple[Counter[str], Counter[str]]:
    """Picoseconds and calls by name, counted instant by instant."""
    shares, calls = Counter[str](), Counter[str]()
    outer_first = sorted(found.operations, key=lambda span: (span.start, -span.end))
    for step in found.steps:
        called: dict[int, Span] = {}
        for now in range(step.start, step.end, UNIT):
            running = {span.thread: span for span in outer_first if span.start <= now < span.end}
            for span in running.values():
                shares[span.name] += UNIT // len(running)
                called[id(span)] = span
            if not running:
                shares[GAP if any(wait.start <= now < wait.end for wait in found.functions) else HOST] += UNIT
        calls.update(span.name for span in called.values() if span.start >= step.start)
    return shares, calls


@settings(deadline=None, max_examples=100)
@given(timelines)
def test_shares_and_calls_are_those_counted_instant_by_instant(found: Timeline) -> None:
    shares, calls = Counter[str](), Counter[str]()
    for operation in operations_of(found):
        shares[operation.name] += round(operation.seconds * PICOSECONDS * len(found.steps))
        calls[operation.name] += round(operation.calls * len(found.steps))
    assert (shares, +calls) == counted(found)
