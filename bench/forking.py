"""Is a forked worker's step as fast as a started one's, and does it hold as much memory?

In each pair a started and a forked worker are both resident, one computing at a time, and time quads of single calls as
a gate does. The mean ratio over pairs is told with Student's interval.

Run: python bench/forking.py [execution/precision] [pairs] (about 20 seconds a pair; default graph/float32 12)
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from stepbench.engine.gate import BLOCK_S, ORDERS
from stepbench.engine.pool import Pool
from stepbench.judge.gate import log_ratio
from stepbench.judge.statistics import from_logs
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.records.gate import Pair, Quad, SideFacts, SideName
from stepbench.records.protocol import Close, Measure, Prepare

QUADS = 150
TIMEOUT_S = 120.0
STARTED, FORKED = SideName


class Found:
    """Of all pairs, by side."""

    def __init__(self) -> None:
        self.ratios: list[float] = []
        self.memory: dict[SideName, list[int]] = {side: [] for side in SideName}
        self.first_call: dict[SideName, list[float]] = {side: [] for side in SideName}
        self.ready: dict[SideName, list[float]] = {side: [] for side in SideName}


def measure_pair(case: Case, found: Found) -> None:
    """One of each, side by side."""
    with (
        tempfile.TemporaryDirectory() as logs,
        Pool[Case](Path(logs), forks=False) as started,
        Pool[Case](Path(logs), forks=True, is_timed=True) as forked,
    ):
        pools = {STARTED: started, FORKED: forked}
        for side, pool in random.sample(list(pools.items()), 2):
            began = time.perf_counter()
            pool.start(case, side)
            pool.greet(case)
            found.ready[side].append(time.perf_counter() - began)
            order = Prepare(case, case.workload, (), "synthetic", 0, BLOCK_S)
            reply, _ = pool.ask(case, order, TIMEOUT_S)
            found.first_call[side].append(reply.phases.first_call_s)
        quads = tuple(_quad(pools, case) for _ in range(QUADS))
        nothing = SideFacts(1, 0.0, 0)
        found.ratios.append(log_ratio(Pair(0, quads, nothing, nothing, 0.0)))
        for side, pool in pools.items():
            closing = pool.ask(case, Close(input_pipeline=False), TIMEOUT_S)[0].closing
            found.memory[side].append(closing.peak_rss_bytes - closing.baseline_rss_bytes)


def _quad(pools: dict[SideName, Pool[Case]], case: Case) -> Quad:
    taken: dict[SideName, list[float]] = {side: [] for side in SideName}
    for side in random.choice(ORDERS):  # noqa: S311 - it shuffles.
        block = pools[side].ask(case, Measure(0), TIMEOUT_S)[0].block
        taken[side].append(block.seconds / block.steps)
    base, head = taken.values()
    return Quad((base[0], base[1]), (head[0], head[1]))


def main() -> None:
    name, count = [*sys.argv[1:], *("graph/float32", "12")[len(sys.argv) - 1 :]]
    execution, precision = name.split("/")
    case = Case("cifar-cnn", Variant(execution, Precision(precision)), Device.CPU, 64)
    found = Found()
    for _ in range(int(count)):
        measure_pair(case, found)
    ratio = from_logs(found.ratios)
    assert ratio, "there are pairs"
    sys.stdout.write(
        f"{name}, {count} pairs: a forked worker's step takes {ratio.value:.4f}x "
        f"[{ratio.low or 0:.4f}, {ratio.high or 0:.4f}] a started one's\n"
    )
    for side, label in ((STARTED, "started"), (FORKED, "forked")):
        sys.stdout.write(
            f"{label}: {statistics.median(found.ready[side]):.1f} s until it is ready, first call "
            f"{statistics.median(found.first_call[side]):.2f} s, peak memory "
            f"{statistics.median(found.memory[side]) / 2**20:.0f} MiB above what it held before\n"
        )


if __name__ == "__main__":
    main()
