"""Do two runs of the same thing agree? Overlap and width of their speed-up intervals.

Run: python bench/repeatability.py RUN RUN
"""

from __future__ import annotations

import sys
from pathlib import Path

from stepbench.records.store import Store
from stepbench.report.formats import estimate
from stepbench.report.summary import summarize


def main() -> None:
    store = Store(Path("results"))
    first, second = ({case.id: case for case in summarize(store.read(name)).cases} for name in sys.argv[1:3])
    overlapping = 0
    widest = 0.0
    for case_id, case in first.items():
        mine, other = case.speedup, second[case_id].speedup
        if not mine or not other or None in (mine.low, mine.high, other.low, other.high):
            sys.stdout.write(f"{case_id}: no interval\n")
            continue
        overlaps = mine.low <= other.high and other.low <= mine.high  # type: ignore[operator] # None is ruled out above.
        overlapping += overlaps
        widest = max(widest, mine.relative_half_width or 0, other.relative_half_width or 0)
        sys.stdout.write(f"{case_id}: {estimate(mine)} and {estimate(other)}{'' if overlaps else '  APART'}\n")
    sys.stdout.write(f"{overlapping} of {len(first)} overlap; the widest interval is ±{100 * widest:.1f} %\n")


if __name__ == "__main__":
    main()
