"""A traced step's time by category of work, scaled to the time that was measured without the profiler."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from stepbench.records.trace import GAP, HOST, PARTS, Operation, Trace


class Category(StrEnum):
    """What kind of work an operation does."""

    INPUT = "input"
    PYTHON_CALLBACK = "Python callback"
    COLLECTIVE = "collective"
    CONVOLUTION = "convolution"
    MATRIX_PRODUCT = "matrix product"
    POOLING = "pooling"
    CAST_AND_COPY = "cast and copy"
    OPTIMIZER = "optimizer"
    ELEMENT_WISE = "element-wise"
    HOST = "host"
    GAP = "gap"


_PATTERNS: tuple[tuple[Category, re.Pattern[str]], ...] = tuple(
    (category, re.compile(pattern))
    for category, pattern in (
        (Category.HOST, re.escape(HOST) + "$|SyncDevice"),
        (Category.GAP, re.escape(GAP) + "$"),
        (Category.INPUT, r"Iterator|.*Dataset"),
        (Category.PYTHON_CALLBACK, r"(Eager)?PyFunc"),
        (Category.COLLECTIVE, r"Collective|Nccl|all-(reduce|gather|to-all)|reduce-scatter"),
        (Category.CONVOLUTION, r"(Depthwise)?(Conv\d?[Dd]|Conv\b|conv\b|convolution)"),
        (Category.MATRIX_PRODUCT, r"(Batch)?MatMul|Einsum|dot\b|Gemm|CudnnRNN"),
        (Category.POOLING, r"(Max|Avg|Fractional)\w*Pool|reduce-window|select-and-scatter"),
        (Category.CAST_AND_COPY, r"Cast|Copy|DeepCopy|Identity|Reshape|Transpose|Memcpy|MEMCPY|copy|convert|transpose"),
    )
)
"""Types of operations, of TensorFlow's graphs and of XLA. What is none of these computes element by element."""
_PREFIX = re.compile(r"^_*(Mkl|Native|Fused)*")


def base_kind(kind: str) -> str:
    """The type without what TensorFlow's rewriting put before it: ``_MklNativeFusedConv2D`` → ``Conv2D``."""
    return _PREFIX.sub("", kind)


def category_of(operation: Operation) -> Category:
    """The category of work that an operation does."""
    kind = base_kind(operation.kind)
    for category, pattern in _PATTERNS:
        if pattern.match(kind):
            return category
    in_update = operation.part == "update" or re.match(r"Resource\w*Apply", kind)
    return Category.OPTIMIZER if in_update else Category.ELEMENT_WISE


class Portion(msgspec.Struct, frozen=True):
    """The time of one category in one part of the step."""

    part: str
    category: Category
    seconds: float
    calls: float
    """Operations a step."""
    kinds: dict[str, float]
    """Seconds of each type of operation."""


class Breakdown(msgspec.Struct, frozen=True):
    """Where a step's time goes; the portions' seconds add up to it."""

    step_s: float
    """As measured without the profiler."""
    traced_step_s: float
    """As the trace has it."""
    overhead: float
    """How many times longer a step takes while it is traced."""
    portions: tuple[Portion, ...]
    """Longest first."""

    def by_part(self) -> dict[str, float]:
        """Seconds in each part of the step, those that no part claims under ``""``."""
        return {
            part: sum(portion.seconds for portion in self.portions if portion.part == part) for part in (*PARTS, "")
        }

    def by_category(self) -> dict[Category, float]:
        """Seconds in each category that occurs, longest first."""
        sums: defaultdict[Category, float] = defaultdict(float)
        for portion in self.portions:
            sums[portion.category] += portion.seconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def share(self, category: Category) -> float:
        """The share of the step that a category takes, from 0 to 1."""
        return self.by_category().get(category, 0.0) / self.step_s

    @property
    def calls(self) -> float:
        """Operations a step."""
        return sum(portion.calls for portion in self.portions)


def break_down(trace: Trace, step_s: float | None = None) -> Breakdown:
    """Group the operations of a trace.

    The trace says how a step's time is divided; how long it is was measured without the profiler, whose cost is taken
    to spread evenly.

    Args:
        trace: of some steps.
        step_s: the measured seconds a step; for want of one, those of the trace's own process with the profiler off.
    """
    seconds = step_s or trace.untraced_step_s
    portions = tuple(_portions(trace.operations, seconds / trace.step_s))
    return Breakdown(seconds, trace.step_s, trace.step_s / trace.untraced_step_s, portions)


def _portions(operations: Iterable[Operation], scale: float) -> list[Portion]:
    members: defaultdict[tuple[str, Category], list[Operation]] = defaultdict(list)
    for operation in operations:
        members[operation.part, category_of(operation)].append(operation)
    portions = []
    for (part, category), mine in members.items():
        kinds: defaultdict[str, float] = defaultdict(float)
        for operation in mine:
            kinds[operation.kind] += operation.seconds * scale
        calls = sum(operation.calls for operation in mine)
        portions.append(Portion(part, category, sum(kinds.values()), calls, dict(kinds)))
    return sorted(portions, key=lambda portion: -portion.seconds)
