"""How much a figure of one evaluation jumps, against the mean of all in a training's last third.

Run: python bench/evaluations.py RUN (a verified run)
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from stepbench.judge.training import figure_names, figures_of
from stepbench.judge.verify import anchor_of
from stepbench.records.store import Store
from stepbench.records.verify import Curve


def figures(curve: Curve, name: str) -> list[float]:
    values = (figures_of(test).get(name) for test in curve.tests)
    return [value for value in values if value is not None]


def main() -> None:
    run = Store(Path("results")).read(sys.argv[1])
    by_case = {found.case: found for found in run.measurements}
    for case, found in by_case.items():
        anchor = anchor_of(case, by_case)
        if anchor is None or anchor is found or not found.curves:
            continue
        for name in figure_names([*found.curves, *anchor.curves]):
            others = {curve.seed: figures(curve, name) for curve in anchor.curves}
            pairs = [(figures(curve, name), others[curve.seed]) for curve in found.curves if curve.seed in others]
            last = statistics.stdev(mine[-1] - other[-1] for mine, other in pairs)
            mean = statistics.stdev(statistics.fmean(mine) - statistics.fmean(other) for mine, other in pairs)
            sys.stdout.write(
                f"{case.id}: {name}: standard deviation between {len(pairs)} paired seeds: "
                f"last evaluation {last:.4g}, mean of all {mean:.4g}\n"
            )


if __name__ == "__main__":
    main()
