"""Inside a worker: a step put into a given state, run once, and looked at."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.errors import StepbenchError
from stepbench.records.cases import Case
from stepbench.training.executions import build_call
from stepbench.training.fit_data import Batch
from stepbench.training.state import TrainState, inner_optimizer, raw
from stepbench.training.step import loss_of
from stepbench.worker.observer import Application, Observer, trained_weights
from stepbench.worker.tensors import Array, Gradient, assign, is_finite, short_name, value_of, wide

MAX_SKIPPED = 24
"""Dynamic loss scaling begins at 2^15 and halves at each overflow."""
Values = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a step starts from: the values of weights and of the optimizers' variables."""

    weights: Values
    optimizers: list[Values]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one call did."""

    loss: float
    names: list[str] = field(default_factory=list)
    """Of the weights that have a gradient, one for each update."""
    gradients: list[Gradient] = field(default_factory=list)
    """What optimizers were given, or, where they were given nothing, what tapes gave; empty where none was seen."""
    changes: list[Array] = field(default_factory=list)
    """Of each trained weight, over the call."""
    statistics: list[Array] = field(default_factory=list)
    """Weights that are not trained, such as moving averages, after the call."""
    skipped: int = 0
    """Calls before this one that loss scaling skipped."""
    seconds: float = 0.0
    digest: str = ""
    """Of all weights after the call."""
    is_settled: bool = False
    """Whether each weight was updated once by an optimizer, and left so."""

    @property
    def is_finite(self) -> bool:
        """Whether nothing of it is NaN or infinite."""
        tensors = (*self.gradients, *self.changes, *self.statistics)
        return bool(np.isfinite(self.loss)) and all(map(is_finite, tensors))


class ForcedStep:
    """A step with a state that can be set."""

    def __init__(self, state: TrainState, case: Case, *, observed: bool) -> None:
        """Take a state that no call has been built of yet.

        Args:
            state: of the workload.
            case: how its step is executed.
            observed: whether gradients are to be seen, which changes what is compiled.
        """
        self.observer = Observer(state) if observed else None
        self.state = state = self.observer.watched() if self.observer else state
        self.call = build_call(state, case)
        self.trained = trained_weights(state)
        self._scaling = [one for one in state.optimizers if isinstance(one, keras.optimizers.LossScaleOptimizer)]
        trained = {id(raw(weight)) for weight in self.trained}
        self._untrained = [
            weight for weight in state.weights if id(raw(weight)) not in trained and raw(weight).dtype.is_floating
        ]

    def snapshot(self) -> Snapshot:
        """The state of now."""
        weights = [value_of(raw(weight)) for weight in self.state.weights]
        optimizers = (inner_optimizer(one).variables for one in self.state.optimizers)
        return Snapshot(weights, [[value_of(raw(variable)) for variable in variables] for variables in optimizers])

    def force(self, snapshot: Snapshot, size: float = 0.0, draw: int = 0) -> None:
        """Put the state where ``snapshot`` is. The loss scale stays as it is.

        Args:
            snapshot: of this or another precision.
            size: relative, by which each floating-point weight is changed at random.
            draw: which random numbers.

        Raises:
            StepbenchError: when the variables differ in number or shape.
        """
        optimizers = [inner_optimizer(one).variables for one in self.state.optimizers]
        _check_alike(self.state.weights, snapshot.weights)
        for variables, values in zip(optimizers, snapshot.optimizers, strict=True):
            _check_alike(variables, values)
            assign(variables, values)
        random = np.random.default_rng(draw)
        perturbed = [_perturbed(value, size, random) if size else value for value in snapshot.weights]
        assign(self.state.weights, perturbed)
        self.state.reset_metrics()

    def run(self, snapshot: Snapshot, batch: Batch, size: float = 0.0, draw: int = 0) -> Outcome:
        """One call from ``snapshot``, as often as loss scaling skips it for having overflowed."""
        first = self._scales()
        for skipped in range(MAX_SKIPPED):
            self.force(snapshot, size, draw)
            scales, before = self._scales(), [wide(raw(weight)) for weight in self.trained]
            loss, seconds = self.timed(batch)
            outcome = self._outcome(loss, before, skipped, seconds)
            if not self._has_skipped(scales):
                return outcome
        for optimizer, scale in zip(self._scaling, first, strict=True):  # No scale helps, so none is to be spoilt.
            optimizer.dynamic_scale.assign(scale)
        return outcome

    def rehearse(self, batch: Batch) -> None:
        """One call whose effect is undone. What is wrong with the step is told by the calls that count."""
        kept = [value_of(variable) for variable in self.state.variables]
        with contextlib.suppress(Exception):
            self.timed(batch)
        assign(self.state.variables, kept)

    def go_on(self, batch: Batch) -> tuple[Snapshot, Outcome]:
        """One call from the state of now: that state, and what the call did, ``skipped`` by loss scaling or not."""
        snapshot, scales = self.snapshot(), self._scales()
        before = [wide(raw(weight)) for weight in self.trained]
        loss, seconds = self.timed(batch)
        return snapshot, self._outcome(loss, before, int(self._has_skipped(scales)), seconds)

    def _scales(self) -> list[float]:
        return [float(optimizer.dynamic_scale) for optimizer in self._scaling]

    def _has_skipped(self, before: list[float]) -> bool:
        """Whether loss scaling has skipped an update, after which it is smaller."""
        return any(now < then for now, then in zip(self._scales(), before, strict=True))

    def digest(self) -> str:
        """Of the trained weights of now: equal for bit-identical ones."""
        return _digest([wide(raw(weight)) for weight in self.trained])

    def timed(self, batch: Batch) -> tuple[float, float]:
        """The loss of one call from the state of now, and the seconds that it took."""
        if self.observer:
            self.observer.begin()
        started = time.perf_counter()
        loss = float(tf.reduce_mean(tf.cast(loss_of(self.call(batch)), tf.float64)))
        return loss, time.perf_counter() - started

    def _outcome(self, loss: float, before: Sequence[Array], skipped: int, seconds: float) -> Outcome:
        after = [wide(raw(weight)) for weight in self.trained]
        names, gradients = self._seen()
        return Outcome(
            loss=loss,
            names=names,
            gradients=gradients,
            changes=[end - start for end, start in zip(after, before, strict=True)],
            statistics=[wide(raw(weight)) for weight in self._untrained],
            skipped=skipped,
            seconds=seconds,
            digest=_digest(after),
            is_settled=self._is_settled(),
        )

    def _is_settled(self) -> bool:
        applications = self.observer.done() if self.observer else []
        weights = [id(raw(weight)) for one in applications for weight in one.weights]
        return len(set(weights)) == len(weights) and all(map(left_alone, applications))

    def _seen(self) -> tuple[list[str], list[Gradient]]:
        if self.observer is None:
            return [], []
        applications = self.observer.done()
        if applications:
            seen = [pair for number, one in enumerate(applications) for pair in _named(one, number)]
            return [name for name, _ in seen], [gradient for _, gradient in seen]
        taped = self.observer.taped()
        if not taped:
            return [], []
        return [short_name(weight) for weight in self.trained], [taped.get(id(raw(weight))) for weight in self.trained]


def left_alone(application: Application) -> bool:
    """Whether weights are still what an optimizer made of them."""
    pairs = zip(application.after, application.weights, strict=False)  # None is kept where nothing else changes them.
    return all(np.array_equal(value_of(kept), value_of(raw(weight)), equal_nan=True) for kept, weight in pairs)


def _digest(weights: Sequence[Array]) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()[:16]


def _named(application: Application, number: int) -> list[tuple[str, Gradient]]:
    mark = f" (update {number + 1})" if number else ""
    names = (f"{short_name(weight)}{mark}" for weight in application.weights)
    return list(zip(names, application.gradients(), strict=True))


def _check_alike(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise StepbenchError("The model has other variables than the reference's, so their steps cannot be compared.")


def _perturbed(value: NDArray[Any], size: float, random: np.random.Generator) -> NDArray[Any]:
    if value.dtype.kind != "f":
        return value
    noise = 1 + size * random.uniform(-1, 1, value.shape)
    return np.asarray(value.astype(np.float64) * noise)
