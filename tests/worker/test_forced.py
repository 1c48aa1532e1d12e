"""A step put where a snapshot is."""

from __future__ import annotations

from collections.abc import Iterator

import forcing
import kinds
import numpy as np
import pytest
from forcing import observed
from marks import few

from stepbench.errors import StepbenchError
from stepbench.records.cases import GRAPH
from stepbench.worker.forced import MAX_SKIPPED
from stepbench.worker.tensors import distance

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def _tapes() -> Iterator[None]:
    with forcing.own_tapes():
        yield


@pytest.mark.parametrize("name", few("stateful", "dropped", of=["stateful", "dropped", "adversaries", "normalised"]))
def test_a_step_from_one_state_does_the_same_again(name: str) -> None:
    mine = observed(kinds.KINDS[name])
    start, batch = mine.step.snapshot(), mine.batches(1)[0]
    first = mine.step.run(start, batch)
    mine.step.run(mine.step.snapshot(), batch)  # It goes on from elsewhere.
    again = mine.step.run(start, batch)
    assert (first.loss, first.digest) == (again.loss, again.digest)
    for one, other in zip(first.statistics, again.statistics, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_change_at_random_is_small_relative_to_each_weight_and_the_same_for_the_same_draw() -> None:
    mine = observed(kinds.KINDS["dense"])
    start = mine.step.snapshot()
    drawn = []
    for draw in (1, 1, 2):
        mine.step.force(start, 1e-3, draw)
        drawn.append(mine.step.snapshot().weights)
    for before, one, same, other in zip(start.weights, *drawn, strict=True):
        np.testing.assert_array_equal(one, same)
        assert np.all(np.abs(one - before) <= 1.001e-3 * np.abs(before))
        assert not before.any() or (one != other).any()


def test_a_state_of_another_model_is_refused() -> None:
    mine, other = observed(kinds.KINDS["dense"]), observed(kinds.KINDS["embedding"])
    with pytest.raises(StepbenchError, match="other variables than the reference's"):
        mine.step.force(other.step.snapshot())


def test_calls_that_loss_scaling_skips_are_counted_and_not_taken_for_the_step() -> None:
    mine = observed(kinds.KINDS["dense"], GRAPH, "mixed_float16")
    start, batch = mine.step.snapshot(), mine.batches(1)[0]
    right = mine.step.run(start, batch)
    assert right.skipped == 0
    mine.step.state.optimizer.dynamic_scale.assign(2.0**20)
    found = mine.step.run(start, batch)
    assert 0 < found.skipped < MAX_SKIPPED
    for change, its in zip(found.changes, right.changes, strict=True):
        assert distance(change, its) <= 0.01 * distance(its, None)
