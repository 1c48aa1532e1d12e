"""The synthetic set: the same everywhere, a limited one the beginning of the full one, and learnable."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from stepbench.training.data import load_images, resolve_source
from stepbench.training.synthetic import make_synthetic
from stepbench.training.workload import Dataset


@pytest.fixture(scope="module")
def small() -> Dataset:
    return make_synthetic(2000)


@pytest.mark.parametrize(
    ("limit", "train", "test"), [(600, 600, 600), pytest.param(None, 50_000, 10_000, marks=pytest.mark.slow)]
)
def test_the_set_has_the_shape_of_cifar10(limit: int | None, train: int, test: int) -> None:
    full = load_images(resolve_source("synthetic", limit=limit, environ={}))
    assert full.x_train.shape == (train, 32, 32, 3)
    assert full.x_test.shape == (test, 32, 32, 3)
    assert full.x_train.dtype == full.x_test.dtype == np.float32
    assert full.y_train.dtype == full.y_test.dtype == np.int64
    assert full.x_train.min() >= 0
    assert full.x_train.max() <= 1
    assert np.unique(full.y_train).tolist() == [*range(10)]
    assert np.abs(np.bincount(full.y_train) / (train / 10) - 1).max() < 3 / np.sqrt(train / 10)


@pytest.mark.parametrize("limit", [1, 250, 777])
def test_a_limited_set_is_the_beginning_of_a_larger_one(small: Dataset, limit: int) -> None:
    limited = make_synthetic(limit)
    np.testing.assert_array_equal(limited.x_train, small.x_train[:limit])
    np.testing.assert_array_equal(limited.y_train, small.y_train[:limit])
    np.testing.assert_array_equal(limited.x_test, small.x_test[:limit])
    np.testing.assert_array_equal(limited.y_test, small.y_test[:limit])


def test_the_set_is_the_same_on_every_machine(small: Dataset) -> None:
    digest = hashlib.sha256()
    for part in (small.x_train, small.y_train, small.x_test, small.y_test):
        digest.update(part.tobytes())
    assert digest.hexdigest() == "5971159e26249ef3241302a768823c9cd2e3571f9cdf8b01ca7f63a5cb485f87"


def test_no_image_comes_twice(small: Dataset) -> None:
    images = np.concatenate([small.x_train, small.x_test])
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_classes_differ_and_a_linear_view_does_not_suffice(small: Dataset) -> None:
    means = np.stack([small.x_train[small.y_train == label].mean(axis=0).ravel() for label in range(10)])
    distances = ((small.x_test.reshape(-1, 1, 3072) - means) ** 2).sum(axis=2)
    accuracy = (distances.argmin(axis=1) == small.y_test).mean()
    assert 0.2 < accuracy < 0.6
