"""Inside a worker: gradients and other tensors taken out of TensorFlow, and how far two of them lie apart."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.records.verify import TensorError
from stepbench.training.state import raw

Array = NDArray[np.float64]
AS_WRITTEN = {"disable_meta_optimizer": True}
"""Has TensorFlow run graphs as they are. To rewrite a deep network's for speed takes half of its first call, and gives
nothing that a right answer needs, which is asked for a few dozen times; what is judged is run as users run it."""


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Graphs that are called in this context are run as they are."""
    before = dict.fromkeys(AS_WRITTEN, False) | tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(AS_WRITTEN)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before[name] for name in AS_WRITTEN})


@dataclass(frozen=True, eq=False)
class Rows:
    """A gradient that has only some rows of a table, as an optimizer is given it: a row may come more than once."""

    indices: NDArray[np.int64]
    values: Array
    shape: tuple[int, ...]

    def summed(self) -> Rows:
        """The same gradient, each row once, in order."""
        unique, places = np.unique(self.indices, return_inverse=True)
        sums = np.zeros((len(unique), *self.shape[1:]))
        np.add.at(sums, places.ravel(), self.values)
        return Rows(unique, sums, self.shape)


Gradient = Array | Rows | None
"""None where a weight has none."""


def value_of(tensor: Any) -> NDArray[Any]:
    """A copy of the value of a tensor or a variable, in its own dtype.

    A variable is read by the operation itself: of a deep network there are thousands, and what TensorFlow does around
    each reading takes several times as long.
    """
    if isinstance(tensor, tf.Variable):
        tensor = tf.raw_ops.ReadVariableOp(resource=tensor.handle, dtype=tensor.dtype)
    value: NDArray[Any] = tf.convert_to_tensor(tensor).numpy()
    return value


def wide(tensor: Any) -> Array:
    """A tensor's value in float64."""
    return np.asarray(value_of(tensor), np.float64)


def copy(sources: Sequence[Any], targets: Sequence[tf.Variable]) -> None:
    """Give variables the values of others, likewise."""
    for source, target in zip(sources, targets, strict=True):
        variable = raw(source)
        value = tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=target.handle, value=value)


def assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Give variables values of their shapes, in the dtype that each has; by the operation alone, as it is read."""
    for variable, value in zip(variables, values, strict=True):
        target = raw(variable)
        if not target.dtype.is_numpy_compatible or target.dtype is tf.string:
            target.assign(value)
            continue
        # A copy, as TensorFlow may take an array for its own and write into it.
        copied = np.array(value, target.dtype.as_numpy_dtype)
        tf.raw_ops.AssignVariableOp(resource=target.handle, value=copied)


def aligned(mine: Gradient, right: Gradient) -> tuple[Array, Array]:
    """Two gradients of one weight as arrays of one shape; rows that neither has are left out."""
    mine, right = (one.summed() if isinstance(one, Rows) else one for one in (mine, right))
    if isinstance(mine, Rows) and isinstance(right, Rows):
        rows = np.union1d(mine.indices, right.indices)
        return _spread(mine, rows), _spread(right, rows)
    if isinstance(mine, Rows):
        mine = _dense(mine)
    if isinstance(right, Rows):
        right = _dense(right)
    if mine is None:
        mine = np.zeros_like(right) if right is not None else np.zeros(1)
    return mine, np.zeros_like(mine) if right is None else right


def distance(mine: Gradient, right: Gradient) -> float:
    """The Euclidean norm of the difference."""
    one, other = aligned(mine, right)
    return float(np.linalg.norm(one - other))


def tensor_error(name: str, mine: Gradient, right: Gradient, allowed: float, jump: float = 0.0) -> TensorError:
    """How ``mine`` differs from ``right``.

    Args:
        name: of the tensor.
        mine: what was found.
        right: what it should be.
        allowed: the norm of the difference that honest rounding brings about.
        jump: the norm of the difference that rounding may bring about once in a while.
    """
    one, other = aligned(mine, right)
    size = float(np.linalg.norm(other)) or 1.0
    if not np.all(np.isfinite(one)):
        return TensorError(name, None, None, allowed / size, jump / size)
    own = float(np.linalg.norm(one))
    ratio = math.log(own / size) if own and np.any(other) else None
    return TensorError(name, float(np.linalg.norm(one - other)) / size, ratio, allowed / size, jump / size)


def is_finite(gradient: Gradient) -> bool:
    """Whether it holds no NaN and no infinity."""
    if gradient is None:
        return True
    return bool(np.all(np.isfinite(gradient.values if isinstance(gradient, Rows) else gradient)))


def short_name(variable: Any) -> str:
    """``conv2d_1/kernel``: the layer and the variable, without the model's name."""
    path = variable.path if isinstance(variable, keras.Variable) else variable.name.partition(":")[0]
    return "/".join(path.split("/")[-2:])


def _dense(rows: Rows) -> Array:
    array = np.zeros(rows.shape)
    array[rows.indices] = rows.values
    return array


def _spread(rows: Rows, indices: NDArray[np.int64]) -> Array:
    array = np.zeros((len(indices), *rows.shape[1:]))
    array[np.searchsorted(indices, rows.indices)] = rows.values
    return array
