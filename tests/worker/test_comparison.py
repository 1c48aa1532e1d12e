"""What a step did, against what it should have done: a sign that rounding may turn over is no fault, another is one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stepbench.judge.one_step import complaints_of
from stepbench.records.verify import Point
from stepbench.worker.comparison import compared
from stepbench.worker.forced import Outcome
from stepbench.worker.tensors import Gradient
from stepbench.worker.trajectory import Allowance

pytestmark = pytest.mark.tensorflow

LARGE, SMALL, NONE = 5, 9, 11
"""Elements of the gradient: one that is sure, one that is zero but for rounding, one that is zero."""
GRADIENT = np.linspace(0.5, 1.5, 64)
GRADIENT[SMALL], GRADIENT[NONE] = 1e-5, 0.0
ROUNDING = 1e-4 * float(np.linalg.norm(GRADIENT))
SMALL_STEP = 1e-3


def outcome(change: NDArray[np.float64]) -> Outcome:
    return Outcome(loss=1.0, names=["kernel"], gradients=[GRADIENT], changes=[change])


def point(turned: int | None, right: NDArray[np.float64]) -> Point:
    """A step of which one element of the change has the other sign."""
    mine = right.copy()
    if turned is not None:
        mine[turned] *= -1
    # The change itself was never seen to be turned over, so what rounding does to it seems small.
    rounding = Allowance(1e-6, [ROUNDING], [1e-6 * float(np.linalg.norm(right))], [])
    jumps = Allowance(0.0, [0.0], [0.0], [])
    return compared(0, outcome(mine), outcome(right), rounding, jumps, changed=["kernel"])


def test_of_steps_of_one_size_a_sign_may_turn_over_where_the_gradient_is_zero_but_for_rounding() -> None:
    steps_of_one_size = -SMALL_STEP * np.sign(GRADIENT)  # As Adam's first one.
    others = [point(None, steps_of_one_size)] * 4
    assert complaints_of((point(None, steps_of_one_size), *others)) == ()
    assert complaints_of((point(SMALL, steps_of_one_size), *others)) == ()
    assert complaints_of((point(LARGE, steps_of_one_size), *others))


def test_gradients_that_come_in_another_order_than_the_weights_are_those_of_their_weights() -> None:
    # As of two optimizers, of which the second weight's is asked first.
    steps = -SMALL_STEP * np.sign(GRADIENT)
    others = -SMALL_STEP * np.ones((8, 1))

    def both(mine: NDArray[np.float64]) -> Outcome:
        gradients: list[Gradient] = [np.ones((8, 1)), GRADIENT]
        return Outcome(loss=1.0, names=["second", "first"], gradients=gradients, changes=[mine, others])

    def seen(turned: int | None) -> Point:
        mine = steps.copy()
        if turned is not None:
            mine[turned] *= -1
        rounding = Allowance(1e-6, [1e-3, ROUNDING], [1e-6 * float(np.linalg.norm(steps))] * 2, [])
        jumps = Allowance(0.0, [0.0, 0.0], [0.0, 0.0], [])
        return compared(0, both(mine), both(steps), rounding, jumps, changed=["first", "second"])

    assert complaints_of((seen(None),) * 4) == ()
    assert complaints_of((seen(SMALL), *[seen(None)] * 3)) == ()
    assert complaints_of((seen(LARGE), *[seen(None)] * 3))


def test_what_moves_without_a_gradient_has_its_sign_from_no_rounding() -> None:
    by_momentum = np.full_like(GRADIENT, -SMALL_STEP)
    assert complaints_of((point(NONE, by_momentum), *[point(None, by_momentum)] * 4))


def test_of_an_optimizer_that_keeps_sizes_none_may() -> None:
    points = (point(SMALL, -SMALL_STEP * GRADIENT), *[point(None, -SMALL_STEP * GRADIENT)] * 4)
    assert complaints_of(points) == (), "it is as small as rounding"
    assert complaints_of((point(LARGE, -SMALL_STEP * GRADIENT), *points[1:]))
