"""What is seen of a step: what its optimizers are given, and what its tapes gave."""

from __future__ import annotations

from collections.abc import Iterator

import forcing
import kinds
import numpy as np
import pytest
from forcing import observed

from stepbench.records.cases import EAGER, GRAPH, XLA
from stepbench.training.state import raw
from stepbench.worker.forced import Outcome
from stepbench.worker.tensors import Rows, distance

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def _tapes() -> Iterator[None]:
    with forcing.own_tapes():
        yield


def first_step(mine: forcing.Observed) -> Outcome:
    return mine.step.run(mine.step.snapshot(), mine.batches(1)[0])


def test_a_step_is_seen_alike_however_it_is_executed() -> None:
    seen = [first_step(observed(kinds.KINDS["embedding"], execution)) for execution in (EAGER, GRAPH, XLA)]
    for outcome in seen:
        assert outcome.names == ["embedding/embeddings", "dense/kernel", "dense/bias"]
        table, *others = outcome.gradients
        assert isinstance(table, Rows), "what has rows is kept so"
        assert len(table.indices) == kinds.BATCH * kinds.LENGTH, "each as often as it comes"
        assert all(isinstance(gradient, np.ndarray) for gradient in others)
        for gradient, right in zip(outcome.gradients, seen[0].gradients, strict=True):
            assert distance(gradient, right) < 1e-5 * distance(right, None)


def test_loss_scaling_is_not_seen_in_what_the_optimizer_is_given_and_is_taken_out_of_what_the_tape_gave() -> None:
    mine = observed(kinds.KINDS["dense"], GRAPH, "mixed_float16")
    outcome = first_step(mine)
    plain = first_step(observed(kinds.KINDS["dense"]))
    assert mine.step.observer
    taped = mine.step.observer.taped()
    for weight, gradient, right in zip(mine.step.trained, outcome.gradients, plain.gradients, strict=True):
        assert distance(gradient, right) < 0.05 * distance(right, None)
        assert distance(taped[id(raw(weight))], gradient) == 0.0


def test_a_weight_that_no_loss_sees_has_no_gradient_and_is_no_zero() -> None:
    outcome = first_step(observed(kinds.KINDS["unused-head"]))
    assert [gradient is None for gradient in outcome.gradients] == [False, False, False, False, True, True]


def test_two_applications_of_one_step_are_seen_apart() -> None:
    mine = observed(kinds.KINDS["loop"], GRAPH)
    outcome = first_step(mine)
    assert mine.step.observer
    assert [application.optimizer for application in mine.step.observer.done()] == [0, 1]
    assert outcome.names == ["dense/kernel", "dense/bias", "dense_1/kernel (update 2)", "dense_1/bias (update 2)"]


def test_the_weights_just_before_and_after_an_update_are_kept_where_a_step_moves_them_itself() -> None:
    mine = observed(kinds.KINDS["two-passes"], GRAPH)
    start = mine.step.snapshot().weights
    outcome = first_step(mine)
    assert mine.step.observer
    (application,) = mine.step.observer.done()
    for kept, begun, change in zip(application.after, start, outcome.changes, strict=True):
        np.testing.assert_allclose(kept.numpy(), begun + change, rtol=1e-6, atol=1e-7)
    assert outcome.is_settled
    assert not mine.step.observer.taped(), "which of its tapes counts is the step's own affair"


def test_what_a_step_did_is_forgotten_before_the_next() -> None:
    mine = observed(kinds.KINDS["dense"])
    first_step(mine)
    assert mine.step.observer
    assert mine.step.observer.done()
    mine.step.observer.begin()
    assert not mine.step.observer.done()
