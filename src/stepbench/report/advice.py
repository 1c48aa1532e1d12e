"""What to do about a case's step time, where its trace is clear about it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stepbench.judge.breakdown import Breakdown, Category, base_kind
from stepbench.records.cases import ONE_STEP_A_CALL, Case, Device, Precision, Variant
from stepbench.records.machine import Cpu
from stepbench.report import formats
from stepbench.report.warnings import emulation

INPUT_BOUND = 0.10
DISPATCH_BOUND = 0.30
CALLBACK_BOUND = 0.05
CAST_BOUND = 0.15
SLOW_PATH = 0.05
"""Shares of a step from which on it is worth saying so."""
TIMES_SLOWER = 1.5
ONEDNN = "_Mkl"


def advice(case: Case, mine: Breakdown, other: Breakdown, cpu: Cpu) -> tuple[str, ...]:
    """Sentences about ``case``, given its breakdown and that of the case that it is compared with."""
    slow = (f"{case.id} {path}" for path in slow_paths(case, mine, other))
    return (*_bound_by(case, mine), *_emulated(case, cpu), *slow)


def slow_paths(case: Case, mine: Breakdown, other: Breakdown) -> tuple[str, ...]:
    """Types of operations that oneDNN computes in the other case, and not, and slower, in this one.

    What is said of ``case``, those that cost most first.
    """
    if case.device is not Device.CPU:
        return ()
    theirs = {base: seconds for base, (seconds, in_onednn) in _by_base_kind(other).items() if in_onednn}
    found: dict[str, float] = {}
    for base, (seconds, in_onednn) in _by_base_kind(mine).items():
        fast = theirs.get(base)
        if not in_onednn and fast and seconds > TIMES_SLOWER * fast and seconds - fast >= SLOW_PATH * mine.step_s:
            times = f"{formats.seconds(seconds)} a step, against {formats.seconds(fast)} with it"
            found[f"runs {base} without oneDNN: {times}"] = seconds - fast
    return tuple(sorted(found, key=lambda path: -found[path]))


def _bound_by(case: Case, mine: Breakdown) -> Iterable[str]:
    def taken(category: Category) -> str:
        return formats.share(mine.share(category))

    if mine.share(Category.INPUT) >= INPUT_BOUND:
        yield (
            f"{case.id} waits for its input in {taken(Category.INPUT)} of the step: "
            "prefetch, read in parallel, or cache the data"
        )
    if mine.share(Category.PYTHON_CALLBACK) >= CALLBACK_BOUND:
        yield (
            f"{case.id} calls back into Python in {taken(Category.PYTHON_CALLBACK)} of the step: "
            "replace tf.numpy_function and tf.py_function by TensorFlow's own operations"
        )
    if mine.share(Category.HOST) >= DISPATCH_BOUND:
        remedy = "compile it with tf.function"
        if Category.GAP in mine.by_category():  # It is compiled already.
            loops = case.variant.execution not in ONE_STEP_A_CALL
            remedy = (
                "run several in one call (--steps-per-call)" if loops else "use graph, with several steps in one call"
            )
        yield (
            f"{case.id} spends {taken(Category.HOST)} of the step in Python and dispatch, {mine.calls:.0f} operations "
            f"a step: {remedy}"
        )
    if mine.share(Category.CAST_AND_COPY) >= CAST_BOUND:
        yield (
            f"{case.id} spends {taken(Category.CAST_AND_COPY)} of the step on casts and copies: "
            "keep tensors in one dtype and one layout"
        )


def _emulated(case: Case, cpu: Cpu) -> Iterable[str]:
    if said := emulation(case, cpu):
        bfloat16 = Variant(case.variant.execution, Precision.MIXED_BFLOAT16)
        native = "float32" if emulation(msgspec.structs.replace(case, variant=bfloat16), cpu) else "bfloat16 or float32"
        yield f"{case.id}: {said}, which costs more than it saves; use {native}"


def _by_base_kind(breakdown: Breakdown) -> dict[str, tuple[float, bool]]:
    """Seconds of each type of operation, and whether any of it is oneDNN's."""
    found: dict[str, tuple[float, bool]] = {}
    for group in breakdown.portions:
        for kind, seconds in group.kinds.items():
            base = base_kind(kind).removesuffix("WithBias")
            before, in_onednn = found.get(base, (0.0, False))
            found[base] = before + seconds, in_onednn or kind.startswith(ONEDNN)
    return found
