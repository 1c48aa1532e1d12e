"""Figures of merit over a test set, by Keras' own ``evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import tensorflow as tf
from keras import Model

from stepbench.training.fit_data import FitData
from stepbench.training.state import TrainState
from stepbench.training.step import figures_of
from stepbench.training.structures import rows_in


class Evaluation(msgspec.Struct, frozen=True):
    """Figures over a whole test set."""

    figures: dict[str, float]
    """By name, each in its own unit; ``loss`` among them where the model has one."""
    examples: int
    """0 where a pipeline does not know, or nothing was evaluated."""

    @property
    def loss(self) -> float | None:
        """The loss, if there is one."""
        return self.figures.get("loss")


class Evaluator:
    """Evaluates a state, as it is at the time, in batches of one size."""

    def __init__(self, state: TrainState, test: FitData | None, batch_size: int, examples: int | None = None) -> None:
        """Take the test data, or the first so many examples of it.

        Whole batches where the model takes no others; else all examples, the short last batch too.
        """
        self._state = state
        self._test = test
        self._batch_size = batch_size
        self.problem: str | None = None
        """Why there is nothing to evaluate; known after the first try."""
        if test is not None and test.is_arrays:
            wanted = min(rows_in(test.x), examples or rows_in(test.x))
            if _is_fixed(state):
                wanted -= wanted % batch_size
            self._test = test.limited(wanted) if wanted else None

    def run(self) -> Evaluation:
        """Evaluate; gives no figures where there is nothing to evaluate, or it cannot be."""
        if self._state.evaluate is not None:
            return Evaluation(figures_of(self._state.evaluate()), 0)
        if self._state.keras_model is None or self._test is None or self.problem:
            return Evaluation({}, 0)
        try:
            logs = self._logs(self._state.keras_model, self._test)
        except Exception as error:  # noqa: BLE001 - models that only train, as GANs, raise anything here.
            self.problem = f"{type(error).__name__}: {error}"
            return Evaluation({}, 0)
        finally:
            self._state.reset_metrics()
        return Evaluation(figures_of(logs), rows_in(self._test.x) if self._test.is_arrays else 0)

    def _logs(self, model: Model, test: FitData) -> Mapping[str, Any]:
        arrays = {"y": test.y, "sample_weight": test.sample_weight, "batch_size": self._batch_size}
        given = {name: value for name, value in arrays.items() if value is not None} if test.is_arrays else {}
        logs: Mapping[str, Any] = model.evaluate(test.x, **given, verbose=0, return_dict=True)
        return {
            name: tf.convert_to_tensor(value) if not isinstance(value, Mapping) else value
            for name, value in logs.items()
        }


def _is_fixed(state: TrainState) -> bool:
    inputs = getattr(state.keras_model, "inputs", None) or ()
    return any(tensor.shape and tensor.shape[0] is not None for tensor in inputs)
