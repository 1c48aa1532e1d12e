"""Inside a worker: what a step did, held tensor by tensor against what it should have done."""

from __future__ import annotations

from collections.abc import Sequence

from stepbench.records.verify import Point, TensorError
from stepbench.worker.forced import Outcome
from stepbench.worker.tensors import Gradient, tensor_error, wide
from stepbench.worker.trajectory import Allowance


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
        changes=_errors(changed, found.changes, right.changes, rounding.changes, jumps.changes),
    )


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
