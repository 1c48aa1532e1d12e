"""Runs of which reports show all kinds of tables."""

from __future__ import annotations

import msgspec
from builders import MEBIBYTE, STEPS, make_case, make_closing, make_failed, make_measurement, make_phases, make_run

from stepbench.records.cases import EAGER, XLA, Device
from stepbench.records.run import Attainable, FailureKind, Measurement, Work

REFERENCE = make_measurement(make_case(EAGER), [0.2, 0.2], [0.201, 0.2], [0.2, 0.2])
FAST = make_measurement(
    make_case("graph", "mixed_bfloat16"), [0.1, 0.1], [0.1, 0.101], [0.1, 0.1], phases=make_phases(3.0)
)
SLOW = make_measurement(make_case("keras", "mixed_float16"), [0.3, 0.3], [0.3, 0.301], [0.3, 0.3])
BROKEN = make_failed(make_case(XLA), FailureKind.COMPILE_ERROR, "XLA said no.")

CPU = Attainable(Device.CPU, {"float32": 200e9, "bfloat16": 400e9}, 20e9)
WORK = Work(flops=1e9, bytes=1e8, examples=6400)
PEAKS = {"build": 20 * MEBIBYTE, "first call": 60 * MEBIBYTE, "steps": 50 * MEBIBYTE}


def counted(execution: str, precision: str, step_s: float, first_call_s: float = 1.0) -> Measurement:
    """A case whose work was counted and whose memory was seen by phase."""
    made = make_measurement(
        make_case(execution, precision),
        *[[STEPS * step_s] * 2] * 3,
        phases=make_phases(first_call_s),
        closing=make_closing(peaks_bytes=PEAKS),
    )
    return msgspec.structs.replace(made, work=WORK)


COUNTED = make_run(
    counted(EAGER, "float32", 0.02),
    counted("graph", "mixed_bfloat16", 0.01, 3.0),
    counted("keras", "float32", 0.04),
    make_failed(make_case(XLA)),
    attainable=(CPU,),
)
