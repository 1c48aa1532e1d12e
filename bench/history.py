"""How long listing and following a case take over 1,000 stored runs, the first time and again.

Run: python bench/history.py [RUN] (a run's id or folder, default the latest; makes 1,000 of it in a temporary folder)
"""

from __future__ import annotations

import datetime as dt
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from stepbench.records.run import Measurement
from stepbench.records.store import LATEST, Run, Store
from stepbench.records.store.names import INDEX_FILE

RUNS = 1000
REPEATS = 5
STEPBENCH = (sys.executable, "-m", "stepbench.cli")


def varied(measurement: Measurement, factor: float) -> Measurement:
    """The same with all step times that many times as long."""
    replicates = (
        msgspec.structs.replace(
            replicate,
            blocks=tuple(msgspec.structs.replace(block, seconds=factor * block.seconds) for block in replicate.blocks),
        )
        for replicate in measurement.replicates
    )
    return msgspec.structs.replace(measurement, replicates=tuple(replicates))


def fill(store: Store, run: Run) -> None:
    """Runs an hour apart, of which the last 400 are 5 % slower, in noise of 2 %."""
    for number in range(RUNS):
        factor = random.gauss(1.05 if number >= RUNS - 400 else 1, 0.02)
        measurements = tuple(varied(measurement, factor) for measurement in run.measurements)
        started = run.started + dt.timedelta(hours=number)
        copy = msgspec.structs.replace(run, run_id=f"run-{number:04}", started=started, measurements=measurements)
        store.write(copy)


def seconds(store: Store, *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([*STEPBENCH, "history", *arguments, "--results", str(store.root)], check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    run = Store(Path("results")).read(sys.argv[1] if len(sys.argv) > 1 else LATEST)
    case = run.plan.cases[0].id
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        fill(store, run)
        size = sum(path.stat().st_size for path in store.root.rglob("run.json"))
        sys.stdout.write(f"{RUNS} runs of {size / RUNS / 1e3:.0f} kB\n")
        for arguments in ((), (case,)):
            (store.root / INDEX_FILE).unlink(missing_ok=True)
            first = seconds(store, *arguments)
            again = [seconds(store, *arguments) for _ in range(REPEATS)]
            words = " ".join(["stepbench history", *arguments])
            sys.stdout.write(f"{words}: first {first:.2f} s, then median {statistics.median(again):.2f} s\n")


if __name__ == "__main__":
    main()
