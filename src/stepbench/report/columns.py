"""The columns of the tables of cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepbench.judge.statistics import Estimate
from stepbench.judge.training import Verdict
from stepbench.records.cases import EAGER, Precision
from stepbench.records.trace import PARTS
from stepbench.report import formats
from stepbench.report.blocks import Cell, Head
from stepbench.report.case_summary import CaseSummary

MAIN_CATEGORIES = 3
"""Of work, shown in the table."""
GIGA = 1e9
TONES = {Verdict.EQUIVALENT: "good", Verdict.DIFFERENT: "bad", Verdict.INCONCLUSIVE: "doubtful"}


@dataclass(frozen=True)
class Column:
    """One column: its head, how a measured case is written in it, and what its figures are sorted by."""

    head: Head
    write: Callable[[CaseSummary], str]
    read: Callable[[CaseSummary], float | None] = lambda _: None

    def is_filled(self, case: CaseSummary) -> bool:
        """Whether there is anything to show of a case."""
        return self.write(case) not in ("", formats.ABSENT)

    def cell(self, case: CaseSummary) -> Cell:
        """The cell of a measured case."""
        struck = "does not count, as it converges differently" if self is SPEEDUP and not counts(case) else ""
        tone = TONES.get(case.equivalence.verdict, "quiet") if self is CONVERGENCE else ""
        return Cell(self.write(case), self.read(case), tone, struck)


def figures(
    head: str, write: Callable[[CaseSummary], str], read: Callable[[CaseSummary], float | None] = lambda _: None
) -> Column:
    """A column of figures."""
    return Column(Head(head), write, read)


def numbers(
    head: str, read: Callable[[CaseSummary], float | None], write: Callable[[float | None], str], scale: float = 1.0
) -> Column:
    """A column of plain numbers that may be absent."""
    return figures(head, lambda case: write(_scaled(read(case), scale)), read)


def estimates(
    head: str,
    of: Callable[[CaseSummary], Estimate | None],
    scale: float = 1.0,
    unit: str = "",
    *,
    interval: bool = True,
) -> Column:
    """A column of values with their intervals."""

    def write(case: CaseSummary) -> str:
        return formats.estimate(of(case), scale=scale, unit=unit, interval=interval)

    return figures(head, write, lambda case: value(of(case)))


def value(estimate: Estimate | None) -> float | None:
    """Of an estimate that may be absent."""
    return estimate.value if estimate else None


def _scaled(number: float | None, scale: float) -> float | None:
    return None if number is None else number * scale


def is_reference(case: CaseSummary) -> bool:
    """Whether others are compared with it."""
    return (case.execution, case.precision, case.settings) == (EAGER, Precision.FLOAT32, {})


def counts(case: CaseSummary) -> bool:
    """Whether the speed-up of a case counts: not if it converges differently."""
    return case.equivalence.verdict is not Verdict.DIFFERENT


def _break_even_text(case: CaseSummary) -> str:
    if case.speedup is None or is_reference(case):
        return formats.ABSENT
    if case.break_even_steps is None:
        return "never"
    return "at once" if not case.break_even_steps else formats.steps(case.break_even_steps)


def _break_even_epochs(case: CaseSummary) -> str:
    found = case.break_even_epochs
    if found is None:
        return _break_even_text(case) if case.break_even_steps is None and case.epoch_s else formats.ABSENT
    return formats.open_estimate(found)


def _achieved(case: CaseSummary) -> float | None:
    seconds = value(case.step_time_s)
    return None if case.flops_per_step is None or seconds is None else case.flops_per_step / seconds


def _part(part: str, head: str | None = None) -> Column:
    def read(case: CaseSummary) -> float | None:
        return case.profile.parts.get(part, 0.0) if case.profile else None

    return numbers(head or part, read, formats.optional, 1e3)


def _main_categories(case: CaseSummary) -> str:
    if case.profile is None:
        return formats.ABSENT
    largest = list(case.profile.categories.items())[:MAIN_CATEGORIES]
    return ", ".join(f"{category} {formats.share(seconds / case.profile.step_s)}" for category, seconds in largest)


def _overhead(case: CaseSummary) -> str:
    return f"{case.profile.overhead - 1:+.0%}".replace("%", " %") if case.profile else ""


def _phase_memory(phase: str) -> Column:
    return numbers(f"memory: {phase}", lambda case: case.memory_by_phase.get(phase), formats.size)


STEP_TIME = estimates("ms a step", lambda case: case.step_time_s, 1e3)
STEP_TIME_ALONE = estimates("ms a step", lambda case: case.step_time_s, 1e3, interval=False)
THROUGHPUT = estimates("examples a second", lambda case: case.throughput)
THROUGHPUT_ALONE = estimates("examples/s", lambda case: case.throughput, interval=False)
SPEEDUP = estimates("speed-up", lambda case: case.speedup, unit="×")
FIRST_CALL = numbers("first call", lambda case: case.first_call_s, formats.seconds)
BREAK_EVEN = figures("pays back after", _break_even_text, lambda case: case.break_even_steps)
PEAK_MEMORY = numbers("peak memory", lambda case: case.peak_memory_bytes, formats.size)
CONVERGENCE = figures("converges", lambda case: case.equivalence.verdict.replace("_", " "))
REASONS = Column(Head("because", prose=True), lambda case: "; ".join(case.equivalence.why))
INPUT_WAIT = numbers("input wait", lambda case: case.input_wait_share, formats.share)

FULL = (STEP_TIME, THROUGHPUT, SPEEDUP, CONVERGENCE, FIRST_CALL, BREAK_EVEN, PEAK_MEMORY, INPUT_WAIT)
PROFILED_PARTS = (
    *(_part(part) for part in PARTS),
    _part("", "outside"),
    numbers("in all", lambda case: case.profile.step_s if case.profile else None, formats.optional, 1e3),
)
"""What traces tell, in milliseconds."""
PROFILED_FIGURES = (
    *PROFILED_PARTS,
    figures("traced", _overhead, lambda case: case.profile.overhead - 1 if case.profile else None),
)
"""The same, with the share by which tracing prolonged the steps."""
PROFILED = (*PROFILED_FIGURES, Column(Head("mostly", prose=True), _main_categories))
EFFICIENCY_MAIN = (
    numbers("GFLOP/s", _achieved, formats.optional, 1 / GIGA),
    numbers("of peak", lambda case: case.flops_utilization, formats.share),
    numbers("FLOP a byte", lambda case: case.arithmetic_intensity, formats.optional),
    numbers("roofline GFLOP/s", lambda case: case.roofline_flops, formats.optional, 1 / GIGA),
    numbers("an epoch", lambda case: value(case.epoch_s), formats.seconds),
)
"""How close a case comes to what the device attains."""
EFFICIENCY = (
    *EFFICIENCY_MAIN,
    figures("epochs to pay back", _break_even_epochs, lambda case: value(case.break_even_epochs)),
    numbers("compilation", lambda case: case.compile_s or None, formats.seconds),
    *(_phase_memory(phase) for phase in ("build", "first call", "steps")),
    estimates("J/1000 examples", lambda case: case.energy_per_1000_examples_j),
)
VERIFIED = (CONVERGENCE, REASONS)
"""What there is to show where nothing was timed."""


def label(case: CaseSummary, cases: Sequence[CaseSummary]) -> str:
    """The part of a case's id that tells it from the others of its table."""
    text = f"{case.execution}/{case.precision}"
    if len({other.batch_size for other in cases}) > 1:
        text += f"/b{case.batch_size}"
    return text + case.suffix
