"""How often intervals that borrow their spread hold the truth, and how wide they are against Student's: simulated.

Run: python bench/coverage.py (half a minute)
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from spreads import KINDS, SEED, coverage, drawn

from stepbench.judge.moderated import estimates
from stepbench.judge.statistics import standard_deviation, t_quantile

RUNS = 3000


def main() -> None:
    sys.stdout.write("replicates  cases  spreads     reference's  mean coverage  worst  width against Student's\n")
    for replicates, spreads, reference in KINDS:
        held = coverage(replicates, spreads, reference, RUNS)
        generator = np.random.default_rng(SEED)
        ours, students = [], []
        for _ in range(RUNS):
            logs = dict(enumerate(drawn(generator, replicates, spreads, reference)))
            ours += [math.log(one.high / one.low) for one in estimates(logs).values() if one.low and one.high]
            quantile = 2 * t_quantile(0.975, replicates - 1) / math.sqrt(replicates)
            students += [quantile * standard_deviation(values) for values in logs.values()]
        width = statistics.median(ours) / statistics.median(students)
        spread = f"{min(spreads):g} to {max(spreads):g}"
        sys.stdout.write(
            f"{replicates:10} {len(spreads):6}  {spread:11} {reference:11g} {statistics.fmean(held):14.1%} "
            f"{min(held):6.1%} {width:12.2f}\n"
        )


if __name__ == "__main__":
    main()
