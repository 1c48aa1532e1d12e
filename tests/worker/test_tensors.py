from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from stepbench.worker.tensors import Gradient, Rows, aligned, distance, is_finite, short_name, tensor_error

pytestmark = pytest.mark.tensorflow

TWICE = Rows(np.array([4, 1, 4]), np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]), (6, 2))
"""A row of it comes twice, as an embedding's gradient has it."""
DENSE = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [11.0, 22.0], [0.0, 0.0]])


def test_rows_that_come_more_than_once_are_summed() -> None:
    summed = TWICE.summed()
    np.testing.assert_array_equal(summed.indices, [1, 4])
    np.testing.assert_array_equal(summed.values, [[3.0, 4.0], [11.0, 22.0]])
    assert summed.shape == TWICE.shape


def test_two_gradients_by_rows_are_compared_without_a_whole_table() -> None:
    other = Rows(np.array([0, 1]), np.ones((2, 2)), (1_000_000_000, 2))
    mine, right = aligned(Rows(TWICE.indices, TWICE.values, other.shape), other)
    np.testing.assert_array_equal(mine, [[0.0, 0.0], [3.0, 4.0], [11.0, 22.0]])
    np.testing.assert_array_equal(right, [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(("one", "other"), [(TWICE, DENSE), (DENSE, TWICE), (TWICE, TWICE), (DENSE, DENSE)])
def test_the_same_gradient_is_the_same_in_either_form(one: Gradient, other: Gradient) -> None:
    assert distance(one, other) == 0.0


@pytest.mark.parametrize("gradient", [TWICE, DENSE])
def test_none_is_as_far_from_a_gradient_as_zero_is(gradient: Gradient) -> None:
    length = float(np.linalg.norm(DENSE))
    assert distance(gradient, None) == distance(None, gradient) == pytest.approx(length)
    assert distance(None, None) == 0.0


def test_an_error_is_a_share_of_the_right_values_length_and_says_how_much_too_long_it_is() -> None:
    right = np.array([3.0, 4.0])
    error = tensor_error("w", 1.1 * right, right, allowed=0.05, jump=0.5)
    assert error.error == pytest.approx(0.1)
    assert error.log_norm_ratio == pytest.approx(math.log(1.1))
    assert (error.yardstick, error.jump) == (0.01, 0.1)


def test_what_is_zero_as_it_should_be_has_no_error_and_what_should_be_is_off_by_its_own_size() -> None:
    zero = np.zeros(3)
    for mine, right in ((zero, zero), (None, zero), (None, None), (zero, None)):
        error = tensor_error("w", mine, right, allowed=0.0)
        assert (error.error, error.log_norm_ratio) == (0.0, None)
    error = tensor_error("w", np.array([0.0, 2.0]), np.zeros(2), allowed=0.5)
    assert (error.error, error.yardstick, error.log_norm_ratio) == (2.0, 0.5, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_has_no_error_that_could_be_told(bad: float) -> None:
    spoilt = Rows(np.array([1]), np.array([[bad, 0.0]]), (6, 2))
    for mine in (np.array([[bad, 0.0]]), spoilt):
        assert not is_finite(mine)
        error = tensor_error("w", mine, np.ones_like(DENSE) if mine is spoilt else np.ones((1, 2)), allowed=0.1)
        assert (error.error, error.log_norm_ratio) == (None, None)
    assert all(map(is_finite, (None, TWICE, DENSE)))


def test_a_weight_is_named_by_its_layer() -> None:
    layer = keras.layers.Dense(2, name="last")
    keras.Sequential([keras.Input((3,)), layer], name="whole")
    assert short_name(layer.kernel) == "last/kernel"
    assert short_name(tf.Variable(1.0, name="scale")) == "scale"
