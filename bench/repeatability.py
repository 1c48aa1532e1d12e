"""Do runs of the same thing agree? How often speed-ups' intervals hold the others' mean, and how wide they are.

Run: python bench/repeatability.py RUN RUN [RUN ...]
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path

from stepbench.judge.statistics import Estimate
from stepbench.records.store import Store
from stepbench.report.formats import estimate
from stepbench.report.summary import summarize


def speedups(store: Store, name: str) -> dict[str, Estimate]:
    """Of a run's cases, but for the reference, which is as fast as itself."""
    run = store.read(name)
    references = {measurement.case.reference.id for measurement in run.measurements}
    return {
        case.id: case.speedup
        for case in summarize(run).cases
        if case.speedup and case.speedup.low and case.id not in references
    }


def main() -> None:
    store = Store(Path("results"))
    runs = [speedups(store, name) for name in sys.argv[1:]]
    held, widths = [], []
    for case_id in sorted(set.intersection(*map(set, runs))):
        found = [run[case_id] for run in runs]
        for number, mine in enumerate(found):
            logs = [math.log(other.value) for index, other in enumerate(found) if index != number]
            mean = math.exp(statistics.fmean(logs))
            held.append((mine.low or 0.0) <= mean <= (mine.high or math.inf))
            widths.append(mine.relative_half_width or 0.0)
        sys.stdout.write(f"{case_id}: {', '.join(map(estimate, found))}\n")
    sys.stdout.write(
        f"{sum(held)} of {len(held)} intervals hold the mean of the other runs ({sum(held) / len(held):.0%}); "
        f"half-width: median ±{statistics.median(widths):.1%}, widest ±{max(widths):.1%}\n"
    )


if __name__ == "__main__":
    main()
