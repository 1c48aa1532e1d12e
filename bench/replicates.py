"""What must be made anew for a replicate: is building the model again in two processes as good as two new processes?

Identical code on both sides, as in a gate: pairs of processes, in each of which the model is built several times, every
time followed by quads of single calls. A one-way analysis of variance tells by how much pairs differ beyond what their
buildings differ by: what building anew does not sample.

Run: python bench/replicates.py [execution/precision] [pairs] (about half a minute a pair; default graph/float32 12)
"""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stepbench.engine.gate import BLOCK_S, ORDERS
from stepbench.engine.pool import Pool
from stepbench.judge.gate import log_ratio
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.records.gate import Pair, Quad, SideFacts, SideName
from stepbench.records.protocol import Measure, Prepare

BUILDINGS = 5
QUADS = 80
TIMEOUT_S = 120.0
SIDES = tuple(SideName)


@dataclass
class Seconds:
    """What the parts of a replicate take, in all."""

    start: float = 0.0
    build: float = 0.0
    quads: float = 0.0


@contextlib.contextmanager
def started(logs: Path) -> Iterator[Pool[SideName]]:
    """Two workers that have imported TensorFlow."""
    with Pool[SideName](logs, forks=True, is_timed=True) as pool:
        for side in SIDES:
            pool.start(side, 0)
        for side in SIDES:
            pool.greet(side)
        yield pool


def measure_quad(pool: Pool[SideName]) -> Quad:
    """Four blocks in random order, as a gate takes them."""
    taken: dict[SideName, list[float]] = {side: [] for side in SIDES}
    for side in random.choice(ORDERS):  # noqa: S311 - it shuffles.
        reply, _ = pool.ask(side, Measure(0), TIMEOUT_S)
        taken[side].append(reply.block.seconds / reply.block.steps)
    base, head = taken.values()
    return Quad((base[0], base[1]), (head[0], head[1]))


def measure_pair(case: Case, spent: Seconds) -> list[float]:
    """The logarithms of head over base, one for each building of the model in one pair of processes."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as logs, started(Path(logs)) as pool:
        spent.start += time.perf_counter() - began
        return [_measure_building(pool, case, spent) for _ in range(BUILDINGS)]


def _measure_building(pool: Pool[SideName], case: Case, spent: Seconds) -> float:
    began = time.perf_counter()
    for side in SIDES:
        pool.ask(side, Prepare(case, case.workload, (), "synthetic", 0, BLOCK_S), TIMEOUT_S)
    built = time.perf_counter()
    quads = tuple(measure_quad(pool) for _ in range(QUADS))
    spent.build += built - began
    spent.quads += time.perf_counter() - built
    nothing = SideFacts(1, 0.0, 0)
    return log_ratio(Pair(0, quads, nothing, nothing, 0.0))


def report(pairs: list[list[float]], spent: Seconds) -> None:
    """The components of variance by the method of moments, and the test that nothing lies between pairs."""
    from scipy import stats

    within = statistics.fmean(statistics.variance(buildings) for buildings in pairs)
    between = statistics.variance([statistics.fmean(buildings) for buildings in pairs]) - within / BUILDINGS
    test = stats.f_oneway(*pairs)
    start, build, quads = (seconds / len(pairs) for seconds in (spent.start, spent.build, spent.quads))
    sys.stdout.write(
        f"{len(pairs)} pairs of processes, {BUILDINGS} buildings each: sd {math.sqrt(within):.2%} from building to "
        f"building, {math.sqrt(max(0.0, between)):.2%} more from pair to pair (F = {test.statistic:.2f}, "
        f"p = {test.pvalue:.2f}); {start:.1f} s to start a pair, {build / BUILDINGS:.1f} s to build, "
        f"{quads / BUILDINGS:.1f} s for {QUADS} quads\n"
    )


def main() -> None:
    name, count = [*sys.argv[1:], *("graph/float32", "12")[len(sys.argv) - 1 :]]
    execution, precision = name.split("/")
    case = Case("cifar-cnn", Variant(execution, Precision(precision)), Device.CPU, 64)
    spent = Seconds()
    report([measure_pair(case, spent) for _ in range(int(count))], spent)


if __name__ == "__main__":
    main()
