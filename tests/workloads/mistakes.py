"""Workloads of users' own that go wrong, each in its way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

import stepbench

BATCH, FEATURES, OUTPUTS = 8, 4, 3
FOR_EVER_S = 3600


def _model(kind: type[keras.Model] = keras.Sequential) -> keras.Model:
    model = kind([keras.Input((FEATURES,)), keras.layers.Dense(OUTPUTS)])
    model.compile("sgd", "mse")
    return model


def _batch(features: int = FEATURES, targets: int = OUTPUTS, value: float = 1.0) -> Any:
    return np.full((BATCH, features), value, np.float32), np.ones((BATCH, targets), np.float32)


class _Raising(keras.Sequential):  # type: ignore[misc] # Keras is untyped.
    def train_step(self, _: Any) -> Any:
        raise RuntimeError("planted in train_step")


def _ends_early() -> Iterator[Any]:
    for _ in range(3):
        yield _batch()


def _other_shapes() -> Iterator[Any]:
    yield _batch()
    while True:
        yield _batch(FEATURES + 1)


def _hanging() -> Iterator[Any]:
    yield _batch()
    time.sleep(FOR_EVER_S)


def _nan() -> Iterator[Any]:
    while True:
        yield _batch(value=float("nan"))


raising = stepbench.Workload("raising", lambda: _model(_Raising), lambda _: (_batch(), None))
misfit = stepbench.Workload("misfit", _model, lambda _: (_batch(targets=OUTPUTS + 2), None))
ends_early = stepbench.Workload("ends-early", _model, lambda _: (_ends_early(), None))
other_shapes = stepbench.Workload("other-shapes", _model, lambda _: (_other_shapes(), None))
hanging = stepbench.Workload("hanging", _model, lambda _: (_hanging(), None))
not_a_number = stepbench.Workload("not-a-number", _model, lambda _: (_nan(), None))
