"""Which colour and shape stands for a case, in every figure: colours for precisions, shapes for executions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Precision
from stepbench.report.case_summary import CaseSummary
from stepbench.report.html.figures.canvas import BLUE, GREEN, VERMILLION

COLOURS = {Precision.FLOAT32: BLUE, Precision.MIXED_BFLOAT16: VERMILLION, Precision.MIXED_FLOAT16: GREEN}
SHAPES = {EAGER: "o", GRAPH: "s", XLA: "D", KERAS: "v"}
MORE_SHAPES = ("^", "P", "X", "<", ">", "p", "h")
KEY = "Colours stand for precisions, shapes for executions."


@dataclass(frozen=True)
class Mark:
    """A colour and a shape of matplotlib's."""

    colour: str
    shape: str


def marks(cases: Iterable[CaseSummary]) -> dict[str, Mark]:
    """The mark of each case, by its id."""
    known, others = list(cases), cycle(MORE_SHAPES)
    shapes = dict(SHAPES)
    for execution in sorted({case.execution for case in known} - set(shapes)):
        shapes[execution] = next(others)
    return {case.id: Mark(COLOURS[Precision(case.precision)], shapes[case.execution]) for case in known}
