"""What the engine adds to a step's time: its timed block against a bare loop, in one process, in turn.

Run: python bench/overhead.py (about five minutes)
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

from stepbench.judge.statistics import mean_interval
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.locate import load_workload
from stepbench.training.step import loss_of
from stepbench.training.task import open_task
from stepbench.worker.timing import WarmCase

if TYPE_CHECKING:
    from stepbench.training.executions import Call
    from stepbench.training.fit_data import Batch

BATCH_SIZE = 64
BLOCK_SECONDS = 0.1
ROUNDS = 500
GROUPS = 20


def bare_loop(step: Call, batches: list[Batch], steps: int) -> float:
    """Seconds a step, timed as one would by hand."""
    started = time.perf_counter()
    for index in range(steps):
        result = step(batches[index % len(batches)])
    loss_of(result).numpy()  # Wait for the last step.
    return (time.perf_counter() - started) / steps


def compare(precision: Precision) -> tuple[float, list[float]]:
    """The bare loop's median seconds a step, and the ratios engine / bare of each round."""
    case = Case("cifar-cnn", Variant("graph", precision), Device.CPU, BATCH_SIZE)
    warm = WarmCase(case, open_task(load_workload("cifar-cnn"), resolve_source("synthetic", limit=1024)), seed=0)
    steps = warm.calls_in(BLOCK_SECONDS)
    ratios, bare = [], []
    for _ in range(ROUNDS):
        times = {}
        for name in random.sample(["engine", "bare"], 2):
            if name == "engine":
                block = warm.time_block(0, steps)
                times[name] = block.seconds / block.steps
            else:
                warm.restore()
                times[name] = bare_loop(warm.call, warm.ring, steps)
        ratios.append(times["engine"] / times["bare"])
        bare.append(times["bare"])
    return statistics.median(bare), ratios


def main() -> None:
    use_device(Device.CPU)
    for precision in (Precision.FLOAT32, Precision.MIXED_BFLOAT16):
        bare, ratios = compare(precision)
        # Medians of groups of rounds are nearly normal, single ratios are not: a neighbour's burst makes a long tail.
        medians = [statistics.median(ratios[start::GROUPS]) for start in range(GROUPS)]
        mean, low, high = mean_interval(medians)
        sys.stdout.write(
            f"graph/{precision}: bare loop {1e3 * bare:.2f} ms a step, "
            f"engine {100 * (mean - 1):+.2f} % [{100 * (low or 0) - 100:+.2f}, {100 * (high or 0) - 100:+.2f}]\n"
        )


if __name__ == "__main__":
    main()
