"""Level 1, whole: innocent executions are passed, and what is planted in a step is caught."""

from __future__ import annotations

from typing import Any

import forcing
import kinds
import pytest
import tensorflow as tf
from forcing import case_of
from marks import few

import stepbench
from stepbench.errors import NotApplicableError
from stepbench.judge.one_step import agrees, complaints
from stepbench.records.cases import BEGINS_AFTER, BUGS, EAGER, GRAPH, INNOCENT, KERAS, XLA, Case
from stepbench.training.state import TrainState

pytestmark = pytest.mark.tensorflow

BOTH = (case_of(GRAPH), case_of(GRAPH, "mixed_bfloat16"))
"""What trajectories are made for."""
ONCE = [bug for bug in BUGS if bug not in (*BEGINS_AFTER, "planted-inference-mode")]
"""Those that each single step shows."""


def said_of(name: str, case: Case) -> tuple[str, ...]:
    return complaints(forcing.agreement(kinds.KINDS[name], case, *BOTH))


INNOCENT_ONES = [
    ("normalised", GRAPH, "float32"),
    ("normalised", GRAPH, "mixed_bfloat16"),
    ("embedding", XLA, "float32"),
    ("tied", KERAS, "mixed_bfloat16"),
    ("frozen", GRAPH, "float32"),
    ("frozen", XLA, "mixed_bfloat16"),
    ("constrained", EAGER, "float32"),
    ("unused-head", KERAS, "float32"),
    ("two-passes", XLA, "float32"),
    ("adversaries", GRAPH, "mixed_bfloat16"),
    ("loop", XLA, "float32"),
    ("stateful", GRAPH, "float32"),
    ("two-headed", GRAPH, "mixed_bfloat16"),
    ("dense", INNOCENT, "mixed_bfloat16"),
]


@pytest.mark.parametrize(
    ("name", "execution", "precision"),
    few(("normalised", GRAPH, "mixed_bfloat16"), ("embedding", XLA, "float32"), of=INNOCENT_ONES),
)
def test_an_innocent_step_is_passed_and_was_compared_whole(name: str, execution: str, precision: str) -> None:
    found = forcing.agreement(kinds.KINDS[name], case_of(execution, precision), *BOTH)
    assert complaints(found) == ()
    assert agrees(found)
    assert found.reference == "float64"
    assert all(point.updates and point.slots and point.changes for point in found.points)


KINDS = ("embedding", "unused-head", "two-passes")
TURNS = [(bug, KINDS[number % len(KINDS)]) for number, bug in enumerate(ONCE)]
REST = [(bug, name) for bug in ONCE for name in KINDS if (bug, name) not in TURNS]


@pytest.mark.parametrize(("bug", "name"), few(TURNS[0], of=[*TURNS, *REST]))
def test_a_planted_bug_is_caught_on_every_kind_of_model(bug: str, name: str) -> None:
    assert said_of(name, case_of(bug))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "name"),
    [
        ("planted-learning-rate", "two-passes"),  # Outside of the optimizer, in a step that might do so itself.
        ("planted-beta-2", "embedding"),
        ("planted-labels", "unused-head"),
        ("planted-bfloat16-weights", "two-passes"),
        ("planted-dropped-gradient", "embedding"),
    ],
)
def test_so_is_it_in_half_precision(bug: str, name: str) -> None:
    assert said_of(name, case_of(bug, "mixed_bfloat16"))


@pytest.mark.slow
def test_inference_in_place_of_training_is_caught_where_it_makes_a_difference() -> None:
    assert said_of("normalised", case_of("planted-inference-mode"))
    with pytest.raises(NotApplicableError, match="the same in training and inference"):
        said_of("embedding", case_of("planted-inference-mode"))


@pytest.mark.slow
def test_a_bug_in_what_a_step_never_calls_is_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match="does not call compute_loss"):
        said_of("adversaries", case_of("planted-summed-loss"))


@stepbench.variant("wrong-when-looped")
def wrong_when_looped(state: TrainState) -> Any:
    """Right by itself, wrong in the loop of a call of several steps."""

    def step(*parts: Any) -> Any:
        result = state.step(parts)
        if isinstance(tf.compat.v1.get_default_graph(), tf.Graph) and not tf.executing_eagerly():
            weight = state.model.trainable_variables[0]
            weight.assign(weight * 1.001)
        return result

    return step


@pytest.mark.slow
def test_calls_of_several_steps_are_verified_as_the_function_that_makes_them() -> None:
    one, five = case_of(GRAPH), case_of(GRAPH, steps_per_call=5)
    workload = kinds.KINDS["dense"]
    assert agrees(forcing.agreement(workload, five, one, five))
    assert complaints(forcing.agreement(workload, case_of("wrong-when-looped"), one, five)) == ()
    looped = forcing.agreement(workload, case_of("wrong-when-looped", steps_per_call=5), one, five)
    assert any(sentence.startswith("change of ") for sentence in complaints(looped))


@pytest.mark.slow
def test_other_numbers_are_told_by_the_gradients_where_rounding_drowns_the_loss() -> None:
    found = forcing.agreement(kinds.DEEP_DROPPED, case_of(XLA, "mixed_bfloat16"), *BOTH)
    assert found.not_comparable == "the step draws other random numbers under mixed_bfloat16 in XLA"
    assert complaints(found) == ()
    same = forcing.agreement(kinds.DEEP_DROPPED, case_of(GRAPH, "mixed_bfloat16"), *BOTH)
    assert (same.not_comparable, complaints(same)) == (None, ())


@pytest.mark.slow
@pytest.mark.parametrize("execution", [XLA, "planted-doubled-bias"])
def test_a_step_that_draws_is_compared_where_its_numbers_are_the_references(execution: str) -> None:
    found = forcing.agreement(kinds.KINDS["dropped"], case_of(execution), *BOTH)
    if execution == XLA:
        assert found.not_comparable == "the step draws other random numbers under float32 in XLA"
    else:
        assert complaints(found)
