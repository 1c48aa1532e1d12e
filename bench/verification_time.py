"""Where the time of a default verification goes.

Run: python bench/verification_time.py (about four minutes on two cores)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from stepbench.commands.plan import make_plan
from stepbench.commands.request import measuring_request
from stepbench.commands.run import measure_run, start_run
from stepbench.records.cases import Verification
from stepbench.records.store import Store

if TYPE_CHECKING:
    from stepbench.records.progress import Progress


class Stopwatch:
    """Adds up the time between reports, by what they say is being done and for which precision."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._doing = "looking at the workload and the devices"
        self._since = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        self.switch_to(" ".join(word for word in progress.doing.split(",")[0].split() if not word.isdigit()))

    def switch_to(self, doing: str) -> None:
        now = time.perf_counter()
        self.seconds[self._doing] += now - self._since
        self._doing, self._since = doing, now


def main() -> None:
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as results:
        store = Store(Path(results))
        planned = make_plan(measuring_request(replicates=0, verification=Verification()))
        run = measure_run(start_run(planned, store), store, watch)
    watch.switch_to("")
    for doing, seconds in sorted(watch.seconds.items(), key=lambda item: -item[1]):
        sys.stdout.write(f"{seconds:7.1f} s  {doing}\n")
    sys.stdout.write(f"{sum(watch.seconds.values()):7.1f} s  in all, {len(run.measurements)} cases, data {run.data}\n")


if __name__ == "__main__":
    main()
