"""Inside a worker: every update of a training, held against the gradients and the optimizer's own arithmetic.

A fault that begins late or comes rarely, such as a momentum that is reset now and then, is seen when it comes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from stepbench.records.verify import Fault
from stepbench.training.state import raw
from stepbench.worker.forced import ForcedStep, left_alone
from stepbench.worker.observer import Application
from stepbench.worker.tensors import short_name, wide
from stepbench.worker.twin import ROUNDINGS, ROUNDOFF, Fed, OptimizerTwin, traced

LIMIT = 20.0
"""How many times what rounding does an update may be off."""
TURNED_OVER = 0.01
"""Share of a weight's elements of which rounding may turn the sign over, where an optimizer takes signs."""
LEARNT_FROM = 3
"""Updates of a training from which it is learnt what rounding does to this optimizer."""
COMPILATION_S = 0.25
"""Roughly what XLA takes to compile the check of one weight, of which it makes one pass over its elements."""
MOST_FAULTS = 5
"""Told of one training."""
Check = Callable[[], tuple[tf.Tensor, tf.Tensor]]
"""Of one application: how far off each weight's change is, and each gradient."""


class UpdateAudit:
    """Looks at each update of a training, which begins at :meth:`begin`."""

    def __init__(self, step: ForcedStep, twin: OptimizerTwin) -> None:
        assert step.observer, "only what is observed can be audited"
        self._step = step
        self._observer = step.observer
        self._twin = twin
        self._before = [tf.Variable(raw(weight)) for weight in step.trained]
        self._position = {id(raw(weight)): number for number, weight in enumerate(step.trained)}
        self._has_own_step = step.state.has_own_step
        self._allowed: dict[int, list[float]] = {}
        self._changed_since: dict[int, bool] = {}
        """Of an application: whether a step of the user's own changes weights after it."""
        self._changed_before: dict[int, list[bool]] = {}
        """Whether such a step makes something else of what the tape gave."""
        self._checks: dict[int, Check] = {}
        self.faults: list[Fault] = []
        self.audited = 0

    def begin(self) -> None:
        """A training begins, from the state of now."""
        self.faults, self.audited = [], 0
        self._twin.force(self._step.snapshot())

    def before(self) -> None:
        """A step is about to run."""
        for kept, weight in zip(self._before, self._step.trained, strict=True):
            kept.assign(raw(weight))
        self._observer.begin()

    def after(self, step: int) -> None:
        """The step after so many others has run."""
        for number, application in enumerate(self._observer.applications):
            if application.was_done:
                self._look(step, number, application)

    def _look(self, step: int, number: int, application: Application) -> None:
        names = [short_name(weight) for weight in application.weights]
        if len(self._allowed.get(number, ())) != len(names) or self.audited < LEARNT_FROM:
            self._learn(number, application)
        else:
            changed, taped = self._check(number, application)
            for what, ratios in (
                ("update of {} is not what the optimizer makes of its gradient", changed),
                ("gradient of {} is not what the optimizer was given", taped),
            ):
                self._tell(step, what, names, ratios)
        self.audited += 1

    def _tell(self, step: int, what: str, names: list[str], ratios: tf.Tensor) -> None:
        worst = int(tf.argmax(ratios))
        ratio = float(ratios[worst])
        if not ratio <= LIMIT and len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(step, f"{what.format(names[worst])} ({ratio:.3g}× what rounding does)"))

    def _learn(self, number: int, application: Application) -> None:
        """One of the first updates, looked at with care: how far rounding leads away with this optimizer."""
        after = [wide(raw(weight)) for weight in application.weights]
        starts = [wide(kept) for kept in application.before] or [wide(self._kept(w)) for w in application.weights]
        ends = [wide(kept) for kept in application.after] or after
        if self._has_own_step:
            self._learn_habits(number, application)
        fed = Fed(application.optimizer, application.weights, application.gradients(), starts, ends)
        errors, _ = self._twin.apply(fed)
        known = self._allowed.get(number) or [0.0] * len(errors)
        self._allowed[number] = [max(old, error.yardstick) for old, error in zip(known, errors, strict=False)]

    def _learn_habits(self, number: int, application: Application) -> None:
        """What a step of the user's own does beside its optimizers, it may do later too."""
        since, before = self._changed_since, self._changed_before
        since[number] = since.get(number, False) or not left_alone(application)
        ratios = [self._given_against_taped(slot, application.optimizer) for slot in application.slots]
        changed = [not float(ratio) <= LIMIT for ratio in ratios]
        before[number] = [old or new for old, new in zip(before.get(number, changed), changed, strict=False)]

    def _check(self, number: int, application: Application) -> tuple[tf.Tensor, tf.Tensor]:
        if number not in self._checks:
            self._checks[number] = _compiled(self._checking(number, application), application.weights)
        return self._checks[number]()

    def _checking(self, number: int, application: Application) -> Check:
        change = self._twin.function_of(application.weights, application.optimizer)
        allowed = self._allowed[number]
        changed = self._changed_before.get(number, [False] * len(application.slots))
        kept_ends = application.after if self._changed_since.get(number) else []
        zero = tf.constant(0.0, tf.float64)

        def check() -> tuple[tf.Tensor, tf.Tensor]:
            before = application.before or [self._kept(weight) for weight in application.weights]
            after = kept_ends or [raw(weight) for weight in application.weights]
            rights = change(before, [slot.handed_over() for slot in application.slots])
            off = [
                _off(start, end, right, share)
                for start, end, right, share in zip(before, after, rights, allowed, strict=True)
            ]
            taped = [
                zero if other else self._given_against_taped(slot, application.optimizer)
                for slot, other in zip(application.slots, changed, strict=True)
            ]
            return tf.stack(off), tf.stack(taped)

        return check

    def _kept(self, weight: Any) -> tf.Variable:
        return self._before[self._position[id(raw(weight))]]

    def _given_against_taped(self, slot: Any, optimizer: int) -> tf.Tensor:
        """By how many roundings what the optimizer was given differs from what the tape gave."""
        taped = self._observer.taped_slot(slot.weight)
        if taped is None or slot.is_none or slot.dense is None or taped.dense is None:
            return tf.constant(0.0, tf.float64)
        given = tf.cast(slot.dense, tf.float64)
        if given.shape != taped.dense.shape:
            return tf.constant(1e300, tf.float64)  # Another gradient.
        right = tf.cast(taped.dense, tf.float64) / tf.cast(self._observer.scales[optimizer], tf.float64)
        return tf.norm(given - right) / (ROUNDINGS * tf.norm(right) + 1e-300)


def _compiled(check: Check, weights: Sequence[Any]) -> Check:
    """The check as a graph, and in XLA once graphs have taken as long as XLA takes to compile it.

    So it takes at most twice as long as if it had been known how often it is asked for (the ski rental problem: Karlin,
    Manasse, Rudolph and Sleator, Algorithmica 3, 1988).
    """
    graph = traced(check)
    fused: Check = tf.function(check, autograph=False, jit_compile=True)
    left_s = COMPILATION_S * len(weights)

    def run() -> tuple[tf.Tensor, tf.Tensor]:
        nonlocal left_s
        if left_s <= 0:
            try:
                return fused()
            except Exception:  # noqa: BLE001 - an optimizer does what XLA, or a graph, cannot: users' may raise anything.
                left_s = math.inf
        started = time.perf_counter()
        found = graph()
        left_s -= time.perf_counter() - started
        return found

    return run


def _off(before: Any, after: Any, right: tf.Tensor, allowed: float) -> tf.Tensor:
    """How many times what rounding does a change of a weight is off."""
    start, end = (tf.cast(value, tf.float64) for value in (before, after))
    mine = end - start
    rounding = ROUNDINGS * tf.abs(right) + ROUNDOFF * tf.abs(end)
    gap, turned = tf.abs(mine - right), tf.abs(mine + right)
    over = tf.logical_and(turned < gap, gap > LIMIT * rounding)
    few = tf.reduce_mean(tf.cast(over, tf.float64)) <= TURNED_OVER
    gap = tf.where(tf.logical_and(over, few), turned, gap)
    return tf.norm(gap) / (tf.norm(rounding) + allowed * tf.norm(right) + 1e-300)
