"""Why one case is faster than another, as people and programs read it; its JSON is public."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import msgspec

from stepbench.judge.breakdown import Breakdown, break_down
from stepbench.judge.explain import Contribution, Explanation, explain
from stepbench.judge.statistics import Estimate, step_time
from stepbench.records.cases import Case
from stepbench.records.machine import Cpu
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.records.trace import Trace
from stepbench.report import formats
from stepbench.report.advice import advice
from stepbench.report.blocks import BOLD, DIM, Block, Paragraph, Table, text_table

SCHEMA = 1
WORTH_A_LINE = 0.01
"""A share of the difference."""
ROUNDING = 1e-9
"""A share of a step that is no difference."""


@dataclass(frozen=True)
class Traced:
    """A case with a trace, to be explained against another."""

    run_id: str
    """Of its run, or of its gate."""
    case: Case
    trace: Trace
    step_time: Estimate | None
    """None where it was not timed beside the trace."""
    cpu: Cpu
    revision: str = ""
    """The side of a gate."""


class ExplainedSide(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the two cases."""

    run_id: str
    id: str
    revision: str = ""
    """Base or head, of a gate."""
    step_s: float
    """Without the profiler."""
    step_time_s: Estimate | None
    """The same with its interval, where it was timed in several processes."""
    overhead: float
    """How many times longer a traced step takes."""
    calls: float
    """Operations a step."""


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between two cases, accounted for: the lines and the unexplained rest add up to it."""

    schema: int = SCHEMA
    a: ExplainedSide
    b: ExplainedSide
    difference_s: float
    """B's step time less A's."""
    lines: tuple[Contribution, ...]
    unexplained_s: float
    traced_difference_s: float
    doubts: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def unexplained_share(self) -> float:
        """Of the difference, from 0 up."""
        return abs(self.unexplained_s / self.difference_s) if self.difference_s else 0.0


def traced(run: Run, measurement: Measurement) -> Traced:
    """A run's measurement that has a trace."""
    assert measurement.trace, "asked only of measurements with traces"
    return Traced(run.run_id, measurement.case, measurement.trace, step_time(measurement), run.environment.cpu)


def explained(a: Traced, b: Traced) -> Explained:
    """Explain the difference between two cases, or two sides of one."""
    one, other = _breakdown(a), _breakdown(b)
    explanation = explain(one, other)
    side_a, side_b = _side(a, one), _side(b, other)
    return Explained(
        a=side_a,
        b=side_b,
        difference_s=explanation.difference_s,
        lines=explanation.contributions,
        unexplained_s=explanation.unexplained_s,
        traced_difference_s=explanation.traced_difference_s,
        doubts=_doubts(explanation, side_a, side_b),
        advice=_advice(a, b, one, other),
    )


def blocks(what: Explained) -> list[Block]:
    """A headline, what A and B are, a table, and what to think and do about it."""
    return [
        Paragraph(headline(what), style=BOLD),
        Paragraph(f"{legend(what)}.", style=DIM),
        table(what),
        Paragraph("", (*what.doubts, *what.advice)),
    ]


def headline(what: Explained) -> str:
    """One sentence: which is faster, by how much, and what most of it is."""
    faster, slower = (what.a, what.b) if what.difference_s >= 0 else (what.b, what.a)
    by = f"{_ms(abs(what.difference_s))} ms a step"
    times = f"{_ms(faster.step_s)} against {_ms(slower.step_s)} ms"
    text = f"{_name(faster, what)} is {by} faster than {_name(slower, what)}: {times}"
    cause = main_cause(what)
    return f"{text}, mainly for {cause}" if cause else text


def main_cause(what: Explained) -> str:
    """What contributes most in the direction of the difference."""
    line = main_line(what)
    if line is None:
        return ""
    where = f" in {line.part}" if line.part else ""
    return f"{line.category}{where} ({_ms(abs(line.difference_s))} ms)"


def main_line(what: Explained) -> Contribution | None:
    """The line of the main cause."""
    return next((line for line in what.lines if line.difference_s * what.difference_s > 0), None)


def _name(side: ExplainedSide, what: Explained) -> str:
    """The variant, with what else tells the two cases apart."""
    parts = [side.id.split("/"), (what.b if side is what.a else what.a).id.split("/")]
    _, execution, precision, *_ = parts[0]
    others = [mine for mine, other in itertools.zip_longest(*parts) if mine != other and mine]
    name = "/".join(dict.fromkeys((execution, precision, *others)))
    if side.revision:
        return f"{name} of {side.revision}"
    return name if what.a.run_id == what.b.run_id else f"{name} of {side.run_id}"


def _breakdown(side: Traced) -> Breakdown:
    return break_down(side.trace, side.step_time.value if side.step_time else None)


def _advice(a: Traced, b: Traced, one: Breakdown, other: Breakdown) -> tuple[str, ...]:
    """About both cases; about the slower one alone where it is the same case twice."""
    about_a, about_b = advice(a.case, one, other, a.cpu), advice(b.case, other, one, b.cpu)
    if a.case != b.case:
        return (*about_a, *about_b)
    return about_b if other.step_s >= one.step_s else about_a


def _side(side: Traced, breakdown: Breakdown) -> ExplainedSide:
    return ExplainedSide(
        run_id=side.run_id,
        id=side.case.id,
        revision=side.revision,
        step_s=breakdown.step_s,
        step_time_s=side.step_time,
        overhead=breakdown.overhead,
        calls=breakdown.calls,
    )


def _doubts(explanation: Explanation, a: ExplainedSide, b: ExplainedSide) -> tuple[str, ...]:
    """Where the traces tell another story than the timing, beyond what tracing itself costs; nothing of a rough one."""
    if any(side.step_time_s and side.step_time_s.low is None for side in (a, b)):
        return ()
    off = abs(explanation.traced_difference_s - explanation.difference_s)
    allowed = sum((abs(side.overhead - 1) + ROUNDING) * side.step_s + _half_width(side) for side in (a, b))
    if off <= allowed:
        return ()
    traced, timed = map(_ms, (explanation.traced_difference_s, explanation.difference_s))
    return (f"the traces differ by {traced} ms, not by {timed} ms, beyond what tracing costs: trace again",)


def _half_width(side: ExplainedSide) -> float:
    return ((side.step_time_s and side.step_time_s.relative_half_width) or 0.0) * side.step_s


def legend(what: Explained) -> str:
    """Which case is A and which is B."""
    run_ids = ("", "") if what.a.run_id == what.b.run_id else (what.a.run_id, what.b.run_id)
    sides = zip((what.a, what.b), run_ids, strict=True)
    a, b = (f"{side.id} of {where}" if (where := side.revision or run_id) else side.id for side, run_id in sides)
    return f"A is {a}, B is {b}; + where B takes longer"


def table(what: Explained) -> Table:
    """What each category of work contributes; what contributes little in one row, and the sum in the last."""
    shown = [line for line in what.lines if abs(line.difference_s) >= WORTH_A_LINE * abs(what.difference_s)]
    others = [line for line in what.lines if line not in shown]
    rows = [_row(line) for line in shown]
    if others:
        sums = [sum(getattr(line, name) for line in others) for name in ("difference_s", "a_s", "b_s")]
        rows.append([_signed(sums[0]), f"{len(others)} smaller ones", "", *map(_ms, sums[1:]), "", ""])
    unexplained = f"unexplained ({formats.share(what.unexplained_share)})"
    rows.append([_signed(what.unexplained_s), unexplained, "", "", "", "", ""])
    calls = f"{what.a.calls:.0f} → {what.b.calls:.0f}"
    rows.append([_signed(what.difference_s), "in all", "", _ms(what.a.step_s), _ms(what.b.step_s), calls, ""])
    prose = ("work", "part", "mostly")
    return text_table(("ms a step", "work", "part", "A", "B", "operations", "mostly"), rows, prose)


def _row(line: Contribution) -> list[str]:
    return [
        _signed(line.difference_s),
        line.category,
        line.part or "outside",
        *(_ms(line.a_s), _ms(line.b_s)),
        f"{line.a_calls:.0f} → {line.b_calls:.0f}" if line.a_calls or line.b_calls else "",
        line.mostly if not line.mostly.startswith("(") else "",
    ]


def _ms(seconds: float) -> str:
    return formats.number(1e3 * seconds)


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '-'}{_ms(abs(seconds))}"
