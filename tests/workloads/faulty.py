"""Variants of users' own that go wrong, each in its way, and two that only behave badly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import tensorflow as tf

import stepbench
from stepbench.training.step import loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepbench.training.state import TrainState

    Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

FOR_EVER_S = 3600
NAN = float("nan")
LOOKS_LIKE_A_REPLY = '{"type":"failed","failure":{"kind":"error","message":"printed, not sent"}}\n'


@stepbench.variant("raising")
def raising(_: TrainState) -> Step:
    def step(_x: tf.Tensor, _y: tf.Tensor) -> tf.Tensor:
        raise RuntimeError("planted in the step")

    return step


@stepbench.variant("quitting")
def quitting(_: TrainState) -> Step:
    def step(_x: tf.Tensor, _y: tf.Tensor) -> tf.Tensor:
        sys.exit(7)

    return step


@stepbench.variant("nan")
def nan(state: TrainState) -> Step:
    step: Step = tf.function(lambda x, y: loss_of(state.step((x, y))) * NAN, autograph=False)
    return step


@stepbench.variant("nan-later")
def nan_later(state: TrainState) -> Step:
    step = _compiled(state)
    calls = 0

    def counted(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        nonlocal calls
        calls += 1
        return step(x, y) * (NAN if calls > 10 else 1.0)  # Warming up takes fewer.

    return counted


@stepbench.variant("retracing")
def retracing(state: TrainState) -> Step:
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return _compiled(state)(x, y)

    return step


@stepbench.variant("pretending", claims="xla")
def pretending(state: TrainState) -> Step:
    return _compiled(state)


@stepbench.variant("chatty")
def chatty(state: TrainState) -> Step:
    step = _compiled(state)
    print(LOOKS_LIKE_A_REPLY * 10_000)  # noqa: T201 - this variant is there to print.

    def printing(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        print(LOOKS_LIKE_A_REPLY)  # noqa: T201 - see above.
        return step(x, y)

    return printing


@stepbench.variant("untidy")
def untidy(state: TrainState) -> Step:
    """Leaves a process and a thread behind, and its output closed."""
    subprocess.Popen(["sleep", str(FOR_EVER_S)])
    threading.Thread(target=_spin, daemon=True).start()
    os.close(1)
    return _compiled(state)


def _spin() -> None:
    while True:
        pass


def _compiled(state: TrainState) -> Step:
    step: Step = tf.function(lambda x, y: loss_of(state.step((x, y))), autograph=False)
    return step
