from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import stepbench
from stepbench.training.structures import count_rows, first_rows, leaves, map_leaves, rows_in

FOUR, MORE = np.arange(4), np.arange(8).reshape(4, 2)


class Pair(NamedTuple):
    left: Any
    right: Any


def test_leaves_come_in_the_order_of_the_names_and_none_is_no_leaf() -> None:
    assert [leaf is FOUR for leaf in leaves({"b": [MORE, None], "a": (FOUR,)})] == [True, False]
    assert list(leaves(None)) == []


def test_a_structure_keeps_its_kind_and_its_order() -> None:
    cut = first_rows({"b": Pair(FOUR, None), "a": [MORE]}, 2)
    assert list(cut) == ["b", "a"]
    assert isinstance(cut["b"], Pair)
    assert cut["b"].left.tolist() == [0, 1]
    assert cut["b"].right is None
    assert cut["a"][0].shape == (2, 2)
    assert map_leaves(len, (FOUR, {"x": MORE})) == (4, {"x": 4})


def test_rows_are_counted_in_all_arrays() -> None:
    assert count_rows("data", inputs={"a": FOUR, "b": MORE}, targets=(FOUR,), weights=None) == 4
    assert rows_in({"a": MORE}) == 4
    assert rows_in(None) == 0


@pytest.mark.parametrize(
    ("inputs", "targets", "told"),
    [
        ({"a": FOUR, "b": FOUR[:3]}, FOUR, "3/4 inputs and 4 targets"),
        (FOUR, FOUR[:1], "4 inputs and 1 targets"),
        (FOUR[:0], None, "0 inputs"),
        (None, None, "nothing in it"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(inputs: object, targets: object, told: str) -> None:
    with pytest.raises(stepbench.StepbenchError) as caught:
        count_rows("test set", inputs=inputs, targets=targets)
    assert str(caught.value) == f"The test set has {told}: give as many of each, at least one."


@pytest.mark.parametrize("bare", [[0, 1, 2, 3], ["a", "b", "c", "d"], 1.5])
def test_a_list_of_numbers_or_texts_is_no_array(bare: object) -> None:
    with pytest.raises(stepbench.StepbenchError, match="a bare number or text: give arrays whose first axis counts"):
        stepbench.Dataset(FOUR, bare, FOUR, FOUR)
