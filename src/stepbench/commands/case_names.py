"""Cases named by a part of their id, as people type them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, XLA, Case, Precision

_EXECUTIONS = (GRAPH, XLA, EAGER)
_PRECISIONS = tuple(Precision)


def matching(name: str, cases: Sequence[Case]) -> list[Case]:
    """The cases that ``name`` may mean: an id, or parts of one in any order, such as ``eager`` or ``xla/float32``."""
    if exact := [case for case in cases if case.id == name]:  # Those of several steps a call have more parts.
        return exact
    wanted = set(name.split("/"))
    return [case for case in cases if wanted <= _parts(case)]


def choose_case(name: str, cases: Sequence[Case]) -> Case:
    """The one case that ``name`` means.

    Raises:
        StepbenchError: when it means none, or several.
    """
    found = matching(name, cases)
    if not found:
        raise StepbenchError(f"There is no case {name!r}: use an id such as {_some(cases)}, or a part of one.")
    if len(found) > 1:
        raise StepbenchError(f"{name!r} names {len(found)} cases: use an id such as {_some(found)}, or more parts.")
    return found[0]


def choose_pair(
    a: str, b: str, cases_a: Sequence[Case], cases_b: Sequence[Case], *, distinct: bool
) -> tuple[Case, Case]:
    """The two cases that are meant: those that differ in as little else as possible, the usual ones first.

    Args:
        a: names one of ``cases_a``.
        b: names one of ``cases_b``.
        cases_a: to choose from.
        cases_b: to choose from.
        distinct: whether both cannot be the same case.

    Raises:
        StepbenchError: when nothing has that name.
    """
    for name, cases in ((a, cases_a), (b, cases_b)):
        if not matching(name, cases):
            raise StepbenchError(
                f"There is no traced case {name!r}: use an id such as {_some(cases)}, or a part of one."
            )
    pairs = [
        pair
        for pair in itertools.product(matching(a, cases_a), matching(b, cases_b))
        if not (distinct and pair[0] == pair[1])
    ]
    if not pairs:
        raise StepbenchError(f"{a!r} and {b!r} name one and the same case: name two.")
    return min(pairs, key=lambda pair: (_differences(*pair), _unusual(pair[0]), _unusual(pair[1])))


def _some(cases: Sequence[Case]) -> str:
    return ", ".join(case.id for case in cases[:3])


def _axes(case: Case) -> tuple[str, ...]:
    variant = case.variant
    place = (case.workload, variant.execution, variant.precision.value, case.device.value, f"b{case.batch_size}")
    return (*place, f"k{case.steps_per_call}", *map(str, case.settings))


def _parts(case: Case) -> set[str]:
    return set(_axes(case))


def _differences(a: Case, b: Case) -> int:
    one, other = set(_axes(a)), set(_axes(b))
    return max(len(one - other), len(other - one))


def _unusual(case: Case) -> tuple[int, int, int, int, int]:
    execution = case.variant.execution
    position = _EXECUTIONS.index(execution) if execution in _EXECUTIONS else len(_EXECUTIONS)
    precision = _PRECISIONS.index(case.variant.precision)
    return len(case.settings), case.steps_per_call, position, precision, case.batch_size
