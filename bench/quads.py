"""How long the blocks of a gate should be: the spread of what ten seconds of quads say, by the length of a block.

Identical code on both sides. Each length has pairs of processes of its own, whose quads are cut into windows; the
spread is that of windows within a pair, so what two processes differ by is not in it (that is `bench/replicates.py`).

Run: python bench/quads.py [rounds] (four minutes a round; default 3)
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from replicates import SIDES, TIMEOUT_S, measure_quad, started

from stepbench.engine.pool import Pool
from stepbench.judge.gate import log_ratio
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.records.gate import Pair, Quad, SideFacts, SideName
from stepbench.records.protocol import Prepare

CASE = Case("cifar-cnn", Variant("graph", Precision.FLOAT32), Device.CPU, 64)
LENGTHS_S = (0.01, 0.03, 0.06, 0.12)
WINDOW_S = 10.0
WINDOWS = 5


def windows_of(block_s: float) -> list[float]:
    """The logarithms of head over base, one from each window of one pair of processes."""
    with tempfile.TemporaryDirectory() as logs, started(Path(logs)) as pool:
        for side in SIDES:
            pool.ask(side, Prepare(CASE, CASE.workload, (), "synthetic", 0, block_s), TIMEOUT_S)
        return [_window(pool) for _ in range(WINDOWS)]


def _window(pool: Pool[SideName]) -> float:
    ends = time.monotonic() + WINDOW_S
    quads: list[Quad] = []
    while time.monotonic() < ends:
        quads.append(measure_quad(pool))
    nothing = SideFacts(1, 0.0, 0)
    return log_ratio(Pair(0, tuple(quads), nothing, nothing, 0.0))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    variances: dict[float, list[float]] = {length: [] for length in LENGTHS_S}
    for _ in range(rounds):
        for length in random.sample(LENGTHS_S, len(LENGTHS_S)):
            variances[length].append(statistics.variance(windows_of(length)))
    for length, found in variances.items():
        spread = statistics.fmean(found) ** 0.5
        sys.stdout.write(f"blocks of {1e3 * length:.0f} ms: spread of {WINDOW_S:.0f} s {spread:.2%}\n")


if __name__ == "__main__":
    main()
