"""The one step, ``train_step`` of the model, with its parts marked where Keras' methods are called."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Mark a part of a step, so that its trace can be read by parts.

    In graphs and XLA modules the operations carry the name. Eager operations have none; there an event spans the part.
    """
    with tf.name_scope(name), tf.profiler.experimental.Trace(name):
        yield


def marked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, as a part of that name."""

    @functools.wraps(function)
    def in_part(*args: Any, **kwargs: Any) -> Any:
        with part(name):
            return function(*args, **kwargs)

    return in_part


def mark_model(model: keras.Model) -> None:
    """Mark what a model's step calls of it: forward pass, loss and metrics."""
    # Not the object's attributes: Python looks special methods up in the class.
    kind: Any = type(model)
    object.__setattr__(model, "__class__", _marked_class(kind))


@functools.cache
def _marked_class(kind: Any) -> Any:
    methods = {"__call__": "forward", "compute_loss": "loss", "compute_metrics": "metrics"}
    return type(kind.__name__, (kind,), {name: marked(getattr(kind, name), part) for name, part in methods.items()})


def mark_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    """Mark the update of the weights."""
    optimizer.apply = marked(optimizer.apply, "update")


def mark_tapes() -> None:
    """Mark the backward passes of all gradient tapes of this process."""
    if not hasattr(tf.GradientTape.gradient, "__wrapped__"):
        tf.GradientTape.gradient = marked(tf.GradientTape.gradient, "backward")


def loss_of(result: Any) -> Any:
    """The loss in what a step gives: the entry ``loss``, or else the first, or the result itself."""
    if isinstance(result, Mapping):
        return result["loss"] if "loss" in result else next(iter(result.values()))
    return result


def figures_of(result: Any) -> dict[str, Any]:
    """What a step gives, by name; vectors as one figure an element."""
    logs = result if isinstance(result, Mapping) else {"loss": result}
    figures: dict[str, Any] = {}
    for name, value in logs.items():
        entries = value if isinstance(value, Mapping) else {"": value}
        for key, entry in entries.items():
            flat = tf.reshape(tf.convert_to_tensor(entry), [-1]).numpy()
            label = f"{name}/{key}" if key else str(name)
            figures |= (
                {label: float(flat[0])}
                if flat.size == 1
                else {f"{label}[{index}]": float(one) for index, one in enumerate(flat)}
            )
    return figures
