"""Pairs, gates and calibrations for tests: whatever is not asked for is identical on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from builders import ENVIRONMENT, MEBIBYTE, STARTED, make_case, make_operation, make_plan, make_trace

from stepbench.records.cases import Case
from stepbench.records.gate import (
    Broken,
    Calibration,
    CalibrationGate,
    Gate,
    GateCase,
    GateSettings,
    Pair,
    Quad,
    Revision,
    SideFacts,
    SideName,
)
from stepbench.records.run import Failure, FailureKind

STEP_S = 0.01
QUADS = 24
FACTS = SideFacts(functions_traced=1, first_call_s=1.0, peak_memory_bytes=100 * MEBIBYTE)
BASE = Revision("main", "a" * 40)
HEAD = Revision("", "b" * 40, dirty=True)
NOISE = (0.004, -0.006, 0.003, -0.002, 0.005, -0.004, 0.001, -0.001, 0.002, -0.002)
"""Logarithms whose mean over any four in a row or more is small."""


def make_quads(log: float = 0.0, count: int = QUADS) -> tuple[Quad, ...]:
    """Quads of which head takes ``exp(log)`` times as long as base."""
    return (Quad((STEP_S, STEP_S), (STEP_S * math.exp(log), STEP_S * math.exp(log))),) * count


def make_pair(log: float = 0.0, number: int = 0, head: SideFacts = FACTS, **changes: Any) -> Pair:
    return msgspec.structs.replace(Pair(number, make_quads(log), FACTS, head, 12.0), **changes)


def make_pairs(*logs: float, **changes: Any) -> tuple[Pair, ...]:
    return tuple(make_pair(log, number, **changes) for number, log in enumerate(logs))


def noisy_pairs(slowdown: float = 0.0, count: int = 5, **changes: Any) -> tuple[Pair, ...]:
    """Pairs of which head is slower by about a share, each a little else."""
    return make_pairs(*(math.log1p(slowdown) + noise for noise in NOISE[:count]), **changes)


def make_gate_case(*pairs: Pair, case: Case | None = None, **changes: Any) -> GateCase:
    return msgspec.structs.replace(GateCase(case or make_case(), pairs), **changes)


def make_traced_gate_case(slowdown: float = 0.1, case: Case | None = None, **changes: Any) -> GateCase:
    """A case that is slower in head by a matrix product, as the traces of both sides show."""
    case = case or make_case()
    convolution = make_operation("Conv2D", STEP_S, "forward")
    product = make_operation("MatMul", slowdown * STEP_S, "backward")
    traces = {SideName.BASE: make_trace(case, convolution), SideName.HEAD: make_trace(case, convolution, product)}
    return make_gate_case(*noisy_pairs(slowdown), case=case, traces=traces, **changes)


def make_broken(side: SideName = SideName.HEAD, message: str = "It broke.", case: Case | None = None) -> GateCase:
    return make_gate_case(case=case, broken=Broken(side, Failure(FailureKind.ERROR, message)))


def make_gate(*cases: GateCase, **changes: Any) -> Gate:
    gate = Gate(
        gate_id="20260102-030405-abcd",
        started=STARTED,
        command=("stepbench", "gate"),
        environment=ENVIRONMENT,
        data="synthetic",
        base=BASE,
        head=HEAD,
        commits=("bbbbbbb Make it slower", "ccccccc Tidy up"),
        settings=GateSettings(),
        cases=cases,
    )
    return msgspec.structs.replace(gate, **changes)


def make_calibration(gates: Sequence[CalibrationGate] = (), **changes: Any) -> Calibration:
    calibration = Calibration(
        calibration_id="20260102-030405-cafe",
        started=STARTED,
        command=("stepbench", "calibrate"),
        environment=ENVIRONMENT,
        plan=make_plan([make_case()]),
        slowdowns=(0.0, 0.05),
        settings=GateSettings(),
        gates=tuple(gates),
    )
    return msgspec.structs.replace(calibration, **changes)
