"""Inside a worker: what a step did, held tensor by tensor against what it should have done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepbench.records.verify import Point, TensorError
from stepbench.worker.forced import Outcome
from stepbench.worker.tensors import Array, Gradient, Rows, tensor_error, wide
from stepbench.worker.trajectory import Allowance

SURE = 3.0
"""Times what rounding does to an element of a gradient on average, from which its sign is taken for sure."""


def compared(
    step: int,
    found: Outcome,
    right: Outcome,
    rounding: Allowance,
    jumps: Allowance,
    *,
    changed: Sequence[str],
    observed: Outcome | None = None,
) -> Point:
    """The errors of one step, but for those of its optimizers.

    Args:
        step: how many steps lead to it.
        found: what it did.
        right: what it should have done.
        rounding: what honest rounding brings about.
        jumps: what rounding brings about once in a while.
        changed: the names of the trained weights.
        observed: what it did as its gradients were seen, if that was another time.
    """
    seen = observed or found
    labels = [f"statistic {number}" for number in range(len(found.statistics))]
    return Point(
        step=step,
        loss=tensor_error("loss", wide(found.loss), wide(right.loss), rounding.loss, jumps.loss),
        gradients=_errors(seen.names, seen.gradients, right.gradients, rounding.gradients, jumps.gradients),
        updates=(),
        slots=(),
        statistics=_errors(labels, found.statistics, right.statistics, rounding.statistics, jumps.statistics),
        skipped=found.skipped,
        digest=found.digest,
        changes=_errors(
            changed, _turned_back(found, right, rounding, changed), right.changes, rounding.changes, jumps.changes
        ),
    )


def _turned_back(found: Outcome, right: Outcome, rounding: Allowance, changed: Sequence[str]) -> Sequence[Array]:
    """The changes found, with the sign that they should have where rounding may have turned it over in the gradient.

    An optimizer that divides by the gradient's size, as Adam does at first, makes whole steps of these elements. Not
    where a weight has not one gradient: with several optimizers they come in another order than the weights.
    """
    alike = len(right.names) == len(right.gradients) == len(rounding.gradients)
    if not alike or not len(changed) == len(found.changes) == len(right.changes):
        return found.changes
    gradients = zip(right.names, right.gradients, rounding.gradients, strict=True)
    of = {name: (gradient, allowed) for name, gradient, allowed in gradients if right.names.count(name) == 1}
    return [
        _each_turned_back(mine, other, *of[name]) if name in of and changed.count(name) == 1 else mine
        for name, mine, other in zip(changed, found.changes, right.changes, strict=True)
    ]


def _each_turned_back(mine: Array, right: Array, gradient: Gradient, allowed: float) -> Array:
    if gradient is None or isinstance(gradient, Rows) or gradient.shape != mine.shape:
        return mine
    size = np.abs(gradient)  # Of none at all, as of a unit that is off, rounding turns nothing over.
    unsure = (size > 0) & (size < SURE * allowed / np.sqrt(size.size))
    return np.where(unsure & (np.abs(mine + right) < np.abs(mine - right)), -mine, mine)


def _errors(
    names: Sequence[str],
    mine: Sequence[Gradient],
    right: Sequence[Gradient],
    rounding: Sequence[float],
    jumps: Sequence[float],
) -> tuple[TensorError, ...]:
    """Tensor by tensor; nothing where the two do not hold the same tensors."""
    if not len(names) == len(mine) == len(right) == len(rounding) == len(jumps):
        return ()
    return tuple(map(tensor_error, names, mine, right, rounding, jumps))
