"""Do the parts that traces show agree with timing the nested pieces of the step?

Run: python bench/parts.py [EXECUTION ...] (about a minute for each of eager, graph and xla)
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from stepbench.judge.breakdown import break_down
from stepbench.judge.statistics import mean_interval
from stepbench.records.cases import DEFAULT_EXECUTIONS, EAGER, XLA, Case, Device, Precision, Tracing, Variant
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.locate import load_workload
from stepbench.training.task import open_task
from stepbench.worker.profile import trace_case
from stepbench.worker.timing import WarmCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepbench.training.fit_data import Batch
    from stepbench.training.state import TrainState

    Piece = Callable[[Batch], object]

ROUNDS = 60
BLOCK_SECONDS = 0.1
STEPS_TRACED = 100


def pieces(state: TrainState, execution: str, whole: Piece) -> dict[str, Piece]:
    """The step cut off after each of its parts; each gives what it computed, so that nothing is optimised away."""
    # A forward pass on the way to a backward pass keeps what every layer gave.
    layers = keras.Model(state.model.inputs, [layer.output for layer in state.model.layers])

    def forward(batch: Batch) -> Any:
        return layers(batch[0], training=True)

    def loss(batch: Batch) -> Any:
        outputs, y = forward(batch), batch[1]
        return state.optimizer.scale_loss(state.loss(y, outputs[-1])), outputs

    def backward(batch: Batch) -> Any:
        x, y = batch
        with tf.GradientTape() as tape:
            value = state.optimizer.scale_loss(state.loss(y, state.model(x, training=True)))
        return tape.gradient(value, state.model.trainable_variables)

    def update(batch: Batch) -> Any:
        gradients = backward(batch)
        state.optimizer.apply(gradients, state.model.trainable_variables)
        return gradients

    def compiled(piece: Piece) -> Piece:
        if execution == EAGER:
            return piece
        function: Piece = tf.function(piece, jit_compile=execution == XLA, autograph=False)
        return function

    cut = {piece.__name__: compiled(piece) for piece in (forward, loss, backward, update)}
    return {**cut, "metrics": whole}


def time_pieces(warm: WarmCase, cut: dict[str, Piece]) -> dict[str, list[float]]:
    """Seconds a call of each piece, one value a round, in random order."""
    seconds: dict[str, list[float]] = {name: [] for name in cut}
    for piece in cut.values():
        piece(warm.ring[0])  # Compile.
    calls = warm.calls_in(BLOCK_SECONDS)
    for _ in range(ROUNDS):
        for name in random.sample(list(cut), len(cut)):
            warm.restore()
            started = time.perf_counter()
            for index in range(calls):
                cut[name](warm.ring[index % len(warm.ring)])
            tf.test.experimental.sync_devices()
            seconds[name].append((time.perf_counter() - started) / calls)
    return seconds


def compare(execution: str) -> None:
    case = Case("cifar-cnn", Variant(execution, Precision.FLOAT32), Device.CPU, 64)
    warm = WarmCase(case, open_task(load_workload("cifar-cnn"), resolve_source("synthetic", limit=1024)), seed=0)
    seconds = time_pieces(warm, pieces(warm.state, execution, warm.call))
    with tempfile.TemporaryDirectory() as folder:
        trace = trace_case(warm, Tracing(STEPS_TRACED), Path(folder))
    whole, _, _ = mean_interval(seconds["metrics"])
    parts = break_down(trace, whole).by_part()
    sys.stdout.write(f"{case.id}, ms: part, by the trace, by the difference of nested pieces\n")
    earlier = [0.0] * ROUNDS
    for name, times in seconds.items():
        mean, low, high = (
            1e3 * (value or 0) for value in mean_interval([b - a for a, b in zip(earlier, times, strict=True)])
        )
        sys.stdout.write(f"  {name:10}{1e3 * parts[name]:8.2f}{mean:8.2f} [{low:.2f}, {high:.2f}]\n")
        earlier = times
    sys.stdout.write(f"  {'outside':10}{1e3 * parts['']:8.2f}   in each of the pieces\n")


def main() -> None:
    use_device(Device.CPU)
    for execution in sys.argv[1:] or DEFAULT_EXECUTIONS:
        compare(execution)


if __name__ == "__main__":
    main()
