"""What ``fit`` takes as data, and Keras' own way from there to batches.

``fit`` itself makes the batches: it is run on a model that does not train, whose train function takes them.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.training.structures import count_rows, leaves, map_leaves
from stepbench.training.workload import Dataset

Batch = Any
"""What ``train_step`` takes: inputs, or a tuple of inputs, targets and sample weights, each any nested structure."""

ENDLESS = 10**9


class Enough(Exception):  # noqa: N818 - it is no error.
    """Raised by who is shown batches, and wants no more."""


@dataclass(frozen=True, eq=False)
class FitData:
    """What is handed to ``fit``: arrays in ``x``, ``y`` and ``sample_weight``, or a pipeline in ``x``."""

    x: Any
    y: Any = None
    sample_weight: Any = None
    class_weight: Mapping[int, float] | None = None
    batch_size: int | None = None
    """None where none was asked for."""
    steps_per_epoch: int | None = None

    @property
    def is_arrays(self) -> bool:
        """Whether rows can be chosen from it; a pipeline gives batches as it likes."""
        parts = list(leaves(self.x))
        return bool(parts) and all(hasattr(part, "shape") for part in parts)

    def limited(self, examples: int) -> FitData:
        """The first so many examples of arrays; a pipeline as it is."""
        return self.split(examples)[0] if self.is_arrays else self

    def split(self, examples: int) -> tuple[FitData, FitData]:
        """The first so many examples of arrays, and the others."""
        arrays = (self.x, self.y, self.sample_weight)
        first = map_leaves(lambda array: array[:examples], arrays)
        rest = map_leaves(lambda array: array[examples:], arrays)
        one, other = (replace(self, x=x, y=y, sample_weight=weights) for x, y, weights in (first, rest))
        return one, other

    def batched(self, batch_size: int) -> FitData:
        """The same with the batch size that was asked for."""
        return replace(self, batch_size=batch_size)


def fit_data(given: Any) -> FitData:
    """From what a workload's ``data()`` gives for training or for testing.

    Raises:
        StepbenchError: when inputs, targets and weights differ in length.
    """
    if isinstance(given, FitData):
        data = given
    elif isinstance(given, tuple) and not hasattr(given, "_fields"):
        data = FitData(*keras.utils.unpack_x_y_sample_weight(given))
    else:
        data = FitData(given)
    x, y, weights = (map_leaves(_as_fit_takes_it, part) for part in (data.x, data.y, data.sample_weight))
    data = replace(data, x=x, y=y, sample_weight=weights)
    if data.is_arrays:
        count_rows("data", inputs=x, targets=y, weights=weights)
    return data


def training_and_test(given: Any) -> tuple[FitData, FitData | None]:
    """From what a workload's ``data()`` gives.

    Raises:
        StepbenchError: when it is neither a Dataset nor a pair.
    """
    if isinstance(given, Dataset):
        training = fit_data((given.x_train, given.y_train, given.sample_weight))
        return training, fit_data((given.x_test, given.y_test))
    if isinstance(given, tuple | list) and len(given) == 2:  # noqa: PLR2004 - a pair.
        return fit_data(given[0]), None if given[1] is None else fit_data(given[1])
    raise StepbenchError(
        f"The workload's data() gave a {type(given).__name__}: it must give a stepbench.Dataset or a pair of training "
        "and test data."
    )


def _as_fit_takes_it(part: Any) -> Any:
    """Tables become arrays, single columns with an axis more, and strings tensors, as ``fit`` has them."""
    if isinstance(part, int | float | str | bytes):
        raise StepbenchError("The data hold a bare number or text: give arrays whose first axis counts examples.")
    if hasattr(part, "iloc"):
        part = part.to_numpy()[:, None] if len(part.shape) == 1 else part.to_numpy()
    if getattr(getattr(part, "dtype", None), "kind", "") in ("O", "U", "S"):
        return tf.constant(np.asarray(part))
    return part


def drive(
    data: FitData, train_function: Callable[[Iterator[Batch]], Any], *, passes: int = ENDLESS, shuffle: bool = False
) -> None:
    """Have ``fit`` go over data, calling ``train_function`` with the iterator whose next batch is due.

    It ends when that raises :class:`Enough`, or after so many passes.

    Raises:
        StepbenchError: when the data ended before.
    """
    shown = 0

    def counted(batches: Iterator[Batch]) -> dict[str, Any]:
        nonlocal shown
        train_function(batches)
        shown += 1
        return {}

    try:
        _fit(data, counted, lambda: shown, passes, shuffle=shuffle)
    except Enough:
        return
    finally:
        if not data.is_arrays:
            gc.collect()  # Threads that read ahead end with the iterator, which hangs in a circle of references.
    if passes == ENDLESS or not shown:
        raise data_ended(shown)


def _fit(
    data: FitData, train: Callable[[Iterator[Batch]], Any], shown: Callable[[], int], passes: int, *, shuffle: bool
) -> None:
    carrier = _Carrier()
    carrier.compile(optimizer="sgd")
    carrier.train_function = train
    names = ("y", "sample_weight", "class_weight", "batch_size", "steps_per_epoch")
    given = {name: value for name in names if (value := getattr(data, name)) is not None}
    unless_empty = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: carrier.end_pass(shown()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")  # It is told by an error.
        carrier.fit(data.x, **given, shuffle=shuffle, epochs=passes, verbose=0, callbacks=[unless_empty])


def data_ended(shown: int) -> StepbenchError:
    """What to say of data that gave so many batches where more were wanted."""
    return StepbenchError(
        f"The data ended after {shown} batches: give a pipeline that can be gone over again, "
        "or a generator that goes on for ever."
    )


class _Carrier(keras.Model):  # type: ignore[misc] # Keras has no types.
    """A model that ``fit`` can be run on, to see the batches that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.built = True
        self._shown = 0

    def end_pass(self, shown: int) -> None:
        """Go over the data no more if there was nothing in it this time."""
        self.stop_training = shown == self._shown
        self._shown = shown

    def call(self, inputs: Any) -> Any:
        return inputs
