"""The columns that the terminal's and the markdown table share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepbench.judge.training import Verdict
from stepbench.records.cases import EAGER, Precision
from stepbench.records.machine import Environment
from stepbench.records.trace import PARTS
from stepbench.report import formats
from stepbench.report.summary import CaseSummary, Status, Summary

MAIN_CATEGORIES = 3
"""Of work, shown in the table."""
GIGA = 1e9


@dataclass(frozen=True)
class Column:
    """One column: its head and how a measured case is written in it."""

    head: str
    write: Callable[[CaseSummary], str]
    is_prose: bool = False
    """Whether it holds sentences, which are wrapped, and not figures."""


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


def _achieved(case: CaseSummary) -> str:
    if case.flops_per_step is None or case.step_time_s is None:
        return formats.ABSENT
    return formats.number(case.flops_per_step / case.step_time_s.value / GIGA)


def _memory(phase: str) -> Column:
    return Column(f"memory: {phase}", lambda case: formats.size(case.memory_by_phase.get(phase)))


def is_reference(case: CaseSummary) -> bool:
    """Whether others are compared with it."""
    return (case.execution, case.precision) == (EAGER, Precision.FLOAT32)


def _part(part: str, head: str | None = None) -> Column:
    def write(case: CaseSummary) -> str:
        return formats.number(1e3 * case.profile.parts.get(part, 0.0)) if case.profile else formats.ABSENT

    return Column(head or part, write)


def _main_categories(case: CaseSummary) -> str:
    if case.profile is None:
        return formats.ABSENT
    largest = list(case.profile.categories.items())[:MAIN_CATEGORIES]
    return ", ".join(f"{category} {formats.share(seconds / case.profile.step_s)}" for category, seconds in largest)


STEP_TIME = Column("ms a step", lambda case: formats.estimate(case.step_time_s, scale=1e3))
STEP_TIME_ALONE = Column("ms a step", lambda case: formats.estimate(case.step_time_s, scale=1e3, interval=False))
THROUGHPUT = Column("examples a second", lambda case: formats.estimate(case.throughput))
THROUGHPUT_ALONE = Column("examples/s", lambda case: formats.estimate(case.throughput, interval=False))
SPEEDUP = Column("speed-up", lambda case: formats.estimate(case.speedup, unit="×"))
FIRST_CALL = Column("first call", lambda case: formats.seconds(case.first_call_s))
BREAK_EVEN = Column("pays back after", _break_even_text)
PEAK_MEMORY = Column("peak memory", lambda case: formats.size(case.peak_memory_bytes))
CONVERGENCE = Column("converges", lambda case: case.equivalence.verdict.replace("_", " "))
REASONS = Column("because", lambda case: "; ".join(case.equivalence.why), is_prose=True)
INPUT_WAIT = Column("input wait", lambda case: formats.share(case.input_wait_share))

FULL = (STEP_TIME, THROUGHPUT, SPEEDUP, CONVERGENCE, FIRST_CALL, BREAK_EVEN, PEAK_MEMORY, INPUT_WAIT)
PROFILED_PARTS = (
    *(_part(part) for part in PARTS),
    _part("", "outside"),
    Column("in all", lambda case: formats.number(1e3 * case.profile.step_s) if case.profile else formats.ABSENT),
)
"""What traces tell."""
PROFILED = (
    *PROFILED_PARTS,
    Column("traced", lambda case: f"{case.profile.overhead - 1:+.0%}".replace("%", " %") if case.profile else ""),
    Column("mostly", _main_categories, is_prose=True),
)
"""The same, with the share by which tracing prolonged the steps."""
EFFICIENCY_MAIN = (
    Column("GFLOP/s", _achieved),
    Column("of peak", lambda case: formats.share(case.flops_utilization)),
    Column("FLOP a byte", lambda case: formats.optional(case.arithmetic_intensity)),
    Column("roofline GFLOP/s", lambda case: formats.optional(case.roofline_flops, 1 / GIGA)),
    Column("an epoch", lambda case: formats.seconds(case.epoch_s.value if case.epoch_s else None)),
)
"""How close a case comes to what the device attains."""
EFFICIENCY = (
    *EFFICIENCY_MAIN,
    Column("epochs to pay back", _break_even_epochs),
    Column("compilation", lambda case: formats.seconds(case.compile_s or None)),
    *(_memory(phase) for phase in ("build", "first call", "steps")),
    Column("J/1000 examples", lambda case: formats.estimate(case.energy_per_1000_examples_j)),
)
VERIFIED = (CONVERGENCE, REASONS)
"""What there is to show where nothing was timed."""


def tables(
    cases: Sequence[CaseSummary],
    timed: tuple[Column, ...] = FULL,
    profiled: tuple[Column, ...] = PROFILED,
    efficient: tuple[Column, ...] = EFFICIENCY,
) -> list[tuple[str, tuple[Column, ...]]]:
    """The tables that there is something to show in, each by its title and its columns."""
    found: list[tuple[str, tuple[Column, ...]]] = []
    if any(case.step_time_s or case.status is Status.FAILED for case in cases):
        found.append((title(cases), timed))
    elif any(case.equivalence.verdict is not Verdict.NOT_CHECKED for case in cases):
        found.append((title(cases), VERIFIED))
    if any(case.flops_per_step for case in cases):
        known = tuple(column for column in efficient if any(is_filled(case, [column]) for case in cases))
        found += [(f"{title(cases)}: how close to the limit", known)] if known else []
    if profiled and any(case.profile for case in cases):
        found.append((f"{title(cases)}: where a step's milliseconds go", profiled))
    return found or [(title(cases), ())]


def is_filled(case: CaseSummary, layout: Sequence[Column]) -> bool:
    """Whether there is anything to show of a case."""
    return any(column.write(case) not in ("", formats.ABSENT) for column in layout)


def limits(summary: Summary) -> list[str]:
    """A line for each device: what it attained in this run, and what its maker promises."""
    measured = [
        f"attained on {device.device}: {_peaks(device.flops, device.bandwidth)}"
        + (" (float32 rounded to TensorFloat-32)" if device.tensor_float_32 else "")
        for device in summary.attainable
    ]
    promised = [
        f"published for {device.name}, dense: {_peaks(device.flops, device.bandwidth)}" for device in summary.published
    ]
    return [formats.plain(line) for line in (*measured, *promised)]


def _peaks(flops: dict[str, float], bandwidth: float) -> str:
    products = ", ".join(f"{formats.rate(rate, 'FLOP')} in {dtype}" for dtype, rate in flops.items())
    return f"matrix products {products}; memory {formats.rate(bandwidth, 'B')}"


def counts(case: CaseSummary) -> bool:
    """Whether the speed-up of a case counts: not if it converges differently."""
    return case.equivalence.verdict is not Verdict.DIFFERENT


def groups(cases: Sequence[CaseSummary]) -> list[tuple[str, list[CaseSummary]]]:
    """Cases of one workload, device, batch size and calls share a table, titled by what they share."""
    tables: dict[str, list[CaseSummary]] = {}
    for case in cases:
        tables.setdefault(f"{case.workload} on {case.device}", []).append(case)
    return list(tables.items())


def label(case: CaseSummary, cases: Sequence[CaseSummary]) -> str:
    """The part of a case's id that tells it from the others of its table."""
    text = f"{case.execution}/{case.precision}"
    if len({other.batch_size for other in cases}) > 1:
        text += f"/b{case.batch_size}"
    return text if case.steps_per_call == 1 else f"{text}/k{case.steps_per_call}"


def title(cases: Sequence[CaseSummary]) -> str:
    """What all cases of a table share."""
    first = cases[0]
    batch_sizes = sorted({case.batch_size for case in cases})
    batch = f"batch size {batch_sizes[0]}" if len(batch_sizes) == 1 else "batch sizes as in the rows"
    return f"{first.workload} on {first.device}, {batch}"


def notes(cases: Sequence[CaseSummary]) -> dict[str, list[str]]:
    """Each distinct warning or failure once, with the labels of the cases that it is about."""
    about: dict[str, list[str]] = {}
    for case in cases:
        failure = [failure_of(case)] if case.status is Status.FAILED else []
        for text in (*failure, *_doubts(case), *case.warnings):
            about.setdefault(formats.plain(text), []).append(label(case, cases))
    return about


def _doubts(case: CaseSummary) -> list[str]:
    verdict = case.equivalence.verdict
    if verdict is Verdict.EQUIVALENT or not case.step_time_s:  # Or the reasons have a column of their own.
        return []
    return [f"converges {verdict.replace('_', ' ')}: {reason}" for reason in case.equivalence.why]


def failure_of(case: CaseSummary) -> str:
    """Why a case has no number."""
    if case.failure is None:
        return "not measured yet"
    return f"{case.failure.kind}: {case.failure.message}"


def heading(summary: Summary) -> str:
    """One line: the run, the machine, the data."""
    return formats.plain(f"run {summary.run_id} · {machine(summary.environment)} · data {summary.data}")


def machine(environment: Environment) -> str:
    """The processor, how much of it may be used, and TensorFlow."""
    cpu, packages = environment.cpu, environment.software.packages
    cores = f"{cpu.usable_cores:g} cores" if cpu.usable_cores else "unknown cores"
    return formats.plain(f"{cpu.model or 'unknown CPU'}, {cores} · TensorFlow {packages.get('tensorflow', '?')}")
