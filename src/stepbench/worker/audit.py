"""Inside a worker: every update of a training, held against the gradients and the optimizer's own arithmetic.

A fault that begins late or comes rarely, such as a momentum that is reset now and then, is seen when it comes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.records.verify import Fault
from stepbench.training.state import raw
from stepbench.worker.forced import ForcedStep, left_alone
from stepbench.worker.observer import Application
from stepbench.worker.tensors import copy, short_name, wide
from stepbench.worker.twin import ROUNDINGS, ROUNDOFF, Change, Fed, OptimizerTwin, traced

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
ANOTHER = 1e300
"""How far off a gradient is that has another shape than the tape's."""
Check = Callable[[], tuple[tf.Tensor, tf.Tensor]]
"""Of one application: how far off each weight's change is, and each gradient."""
Giving = Callable[[], tuple[list[tf.Tensor], list[Any]]]
Judging = Callable[[list[tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]


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
        copy(self._step.trained, self._before)
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
        starts = [wide(kept) for kept in self._starts(application)]
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
        ratios = self._given_against_taped(application.slots, application.optimizer)
        changed = [not float(ratio) <= LIMIT for ratio in ratios]
        before[number] = [old or new for old, new in zip(before.get(number, changed), changed, strict=False)]

    def _check(self, number: int, application: Application) -> tuple[tf.Tensor, tf.Tensor]:
        if number not in self._checks:
            self._checks[number] = self._checking(number, application)
        return self._checks[number]()

    def _checking(self, number: int, application: Application) -> Check:
        """In XLA one function; as graphs three, of which the optimizer's, by far the largest, is traced already."""
        weights, optimizer = application.weights, application.optimizer
        given, judged = self._giving(application), self._judging(number, application)
        whole = _in_turn(given, self._twin.function_of(weights, optimizer), judged)
        graphs = _in_turn(traced(given), self._twin.graph_of(weights, optimizer), traced(judged))
        return _compiled(whole, graphs, len(weights))

    def _giving(self, application: Application) -> Giving:
        """The weights before and the gradients, as the twin is given them."""

        def given() -> tuple[list[tf.Tensor], list[Any]]:
            starts = [tf.cast(weight, tf.float64) for weight in self._starts(application)]
            return starts, [slot.handed_over() for slot in application.slots]

        return given

    def _judging(self, number: int, application: Application) -> Judging:
        weights = [raw(weight) for weight in application.weights]
        allowed = np.array(self._allowed[number])
        changed = self._changed_before.get(number, [False] * len(application.slots))
        kept_ends = application.after if self._changed_since.get(number) else []
        slots = [None if other else slot for slot, other in zip(application.slots, changed, strict=True)]

        def judged(rights: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            starts, ends = self._starts(application), kept_ends or weights

            def off(places: list[int]) -> tf.Tensor:
                start, end, right = (_rows(tensors, places) for tensors in (starts, ends, rights))
                return _off(start, end, right, allowed[places])

            forms = [(weight.dtype, *weight.shape) for weight in weights]
            return _all_of_a_form(forms, off), self._given_against_taped(slots, application.optimizer)

        return judged

    def _starts(self, application: Application) -> list[Any]:
        return application.before or [self._kept(weight) for weight in application.weights]

    def _kept(self, weight: Any) -> tf.Variable:
        return self._before[self._position[id(raw(weight))]]

    def _given_against_taped(self, slots: Sequence[Any], optimizer: int) -> tf.Tensor:
        """By how many roundings what the optimizer was given differs from what the tape gave; 0 for no slot."""
        scale = tf.cast(self._observer.scales[optimizer], tf.float64)
        pairs = [(slot.dense if slot else None, self._taped(slot)) for slot in slots]

        def off(places: list[int]) -> tf.Tensor:
            first, other = pairs[places[0]]
            if first is None or other is None:
                return tf.zeros(len(places), tf.float64)
            if first.shape != other.shape:
                return tf.fill([len(places)], tf.constant(ANOTHER, tf.float64))
            given, taped = (_rows(side, places) for side in zip(*pairs, strict=True))
            right = taped / scale
            return tf.norm(given - right, axis=1) / (ROUNDINGS * tf.norm(right, axis=1) + 1e-300)

        return _all_of_a_form([_form(number, *pair) for number, pair in enumerate(pairs)], off)

    def _taped(self, slot: Any) -> tf.Variable | None:
        """What a tape gave for the weight of a slot, if the optimizer was given something for it too."""
        taped = self._observer.taped_slot(slot.weight) if slot else None
        return None if taped is None or slot.is_none or slot.dense is None else taped.dense


def _form(number: int, given: tf.Variable | None, taped: tf.Variable | None) -> tuple[Hashable, ...]:
    """What gradients have in common that are looked at together; not all lengths are known before they come."""
    if given is None or taped is None:
        return (None,)
    of_known_shape = given.shape.is_fully_defined() and taped.shape.is_fully_defined()
    return (given.dtype, taped.dtype, *given.shape, *taped.shape) if of_known_shape else (number,)


def _all_of_a_form(forms: Sequence[Hashable], measure: Callable[[list[int]], tf.Tensor]) -> tf.Tensor:
    """What ``measure`` gives for each place, which is asked for all places of one form at once.

    A deep network has few forms of weights, and so few operations to trace and to run.
    """
    places: dict[Hashable, list[int]] = {}
    for place, form in enumerate(forms):
        places.setdefault(form, []).append(place)
    found = tf.concat([measure(alike) for alike in places.values()], 0)
    return tf.gather(found, np.argsort([place for alike in places.values() for place in alike]))


def _rows(tensors: Sequence[Any], places: Sequence[int]) -> tf.Tensor:
    """Tensors of one form in float64, each as a row."""
    return tf.cast(tf.reshape(tf.stack([tensors[place] for place in places]), [len(places), -1]), tf.float64)


def _in_turn(given: Giving, change: Change, judged: Judging) -> Check:
    return lambda: judged(change(*given()))


def _compiled(check: Check, graph: Check, weights: int) -> Check:
    """The check of so many weights as a graph, and in XLA once graphs have taken as long as XLA takes to compile it.

    So it takes at most twice as long as if it had been known how often it is asked for (the ski rental problem: Karlin,
    Manasse, Rudolph and Sleator, Algorithmica 3, 1988).
    """
    fused: Check = tf.function(check, autograph=False, jit_compile=True)
    left_s = COMPILATION_S * weights

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


def _off(start: tf.Tensor, end: tf.Tensor, right: tf.Tensor, allowed: NDArray[np.float64]) -> tf.Tensor:
    """How many times what rounding does the changes of some weights, a row each, are off."""
    mine = end - start
    rounding = ROUNDINGS * tf.abs(right) + ROUNDOFF * tf.abs(end)
    gap, turned = tf.abs(mine - right), tf.abs(mine + right)
    over = tf.logical_and(turned < gap, gap > LIMIT * rounding)
    few = tf.reduce_mean(tf.cast(over, tf.float64), axis=1, keepdims=True) <= TURNED_OVER
    gap = tf.where(tf.logical_and(over, few), turned, gap)
    return tf.norm(gap, axis=1) / (tf.norm(rounding, axis=1) + allowed * tf.norm(right, axis=1) + 1e-300)
