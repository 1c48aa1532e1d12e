"""The usual regression checks, used as their documentation shows them, on the commits of step_repository.py.

Used by gates_elsewhere.py, which says how.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
from step_repository import PATHS, StepRepository

from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIAN_PERCENT = 5
STRICTER_FACTOR = 1.05
STALE_S = 60.0
"""A base older than this is measured anew: the machine has changed since."""
ASV_ROW = re.compile(r"^\| (?P<mark>[-+x!* ]) +\|[^|]*\|[^|]*\| *~?(?P<ratio>[\d.]+) *\|", re.MULTILINE)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of known truth."""

    machine: str
    """Its fingerprint."""
    tool: str
    """With its version."""
    slowdown: float
    """Planted in head, as a share; 0 for identical code."""
    ratio: float
    """Head / base, as the tool found it."""
    called: dict[str, bool]
    """Whether it is a regression, by each of the tool's checks."""
    seconds: float


class Tool(Protocol):
    name: str

    def compare(self, slowdown: float) -> Sequence[Comparison]:
        """Compare base with a head that is slower by a share; base with itself may come for free."""


@dataclass(frozen=True)
class Run:
    """One run of pytest-benchmark."""

    median_s: float
    regressed: bool
    seconds: float
    ended: float


class PytestBenchmark:
    def __init__(self, repository: StepRepository, machine: str) -> None:
        self.name = _with_version("pytest-benchmark")
        self._check = f"median:{MEDIAN_PERCENT}%"
        self._repository = repository
        self._machine = machine
        self._base: Run | None = None
        self._last: Run | None = None

    def compare(self, slowdown: float) -> Sequence[Comparison]:
        """Compare the planted slowdown, and each run of base that this takes with the one before."""
        if not slowdown:
            return self._run_base() or self._run_base()
        found = [] if self._fresh_base() and self._last is self._base else self._run_base()
        assert self._base
        return [*found, self._judged(slowdown, self._base, self._run(slowdown, compares=True))]

    def _run_base(self) -> list[Comparison]:
        earlier = self._fresh_base()
        self._base = self._run(0.0, "--benchmark-autosave", compares=earlier is not None)
        return [self._judged(0.0, earlier, self._base)] if earlier else []

    def _fresh_base(self) -> Run | None:
        return self._base if self._base and time.monotonic() - self._base.ended < STALE_S else None

    def _run(self, slowdown: float, *options: str, compares: bool) -> Run:
        report = self._repository.folder / "report.json"
        command = [sys.executable, "-m", "pytest", "-p", "pytest_benchmark.plugin", "-p", "no:cacheprovider"]
        storage = f"--benchmark-storage={self._repository.folder / 'runs'}"
        against = ("--benchmark-compare", f"--benchmark-compare-fail={self._check}") if compares else ()
        command += [storage, f"--benchmark-json={report}", *against, *options]
        self._repository.git("checkout", "--quiet", self._repository.heads[slowdown])
        finished = self._repository.run(command, "Performance has regressed")
        stats = msgspec.json.decode(report.read_bytes())["benchmarks"][0]["stats"]
        self._last = Run(stats["median"], finished.found, finished.seconds, time.monotonic())
        return self._last

    def _judged(self, slowdown: float, base: Run, head: Run) -> Comparison:
        ratio = head.median_s / base.median_s
        assert head.regressed == (ratio * 100 - 100 > MEDIAN_PERCENT), "It was compared with another run."
        return Comparison(
            machine=self._machine,
            tool=self.name,
            slowdown=slowdown,
            ratio=ratio,
            called={self._check: head.regressed},
            seconds=base.seconds + head.seconds,
        )


class Asv:
    def __init__(self, repository: StepRepository, machine: str) -> None:
        self.name = _with_version("asv")
        self._repository = repository
        self._machine = machine
        self._asv = (sys.executable, "-m", "asv")
        repository.run((*self._asv, "machine", "--yes"))
        # This makes the environment; pip, which is to install asv's own needs, finds them where they are.
        there = {"ASV_PYTHONPATH": os.pathsep.join(PATHS), "PIP_NO_INDEX": "1"}
        repository.run((*self._asv, "run", "--bench=just-discover"), environment=there)

    def compare(self, slowdown: float) -> Sequence[Comparison]:
        commits = (self._repository.base, self._repository.heads[slowdown])
        finished = self._repository.run((*self._asv, "continuous", "--show-stderr", *commits), "PERFORMANCE DECREASED")
        stricter = self._repository.run((*self._asv, "compare", f"--factor={STRICTER_FACTOR}", *commits))
        slower, ratio = read_row(stricter.text)
        called = {"continuous": finished.found, f"continuous, factor {STRICTER_FACTOR}": slower}
        return [
            Comparison(
                machine=self._machine,
                tool=self.name,
                slowdown=slowdown,
                ratio=ratio,
                called=called,
                seconds=finished.seconds,
            )
        ]


def read_row(table: str) -> tuple[bool, float]:
    """Whether the only benchmark in what ``asv compare`` prints is a regression, and head / base.

    Raises:
        StepbenchError: when there is no such row, or the benchmark failed.
    """
    rows = list(ASV_ROW.finditer(table))
    if len(rows) != 1 or rows[0]["mark"] not in "+- ":
        raise StepbenchError(f"This is no comparison of one benchmark by asv:\n{table}")
    return rows[0]["mark"] == "+", float(rows[0]["ratio"])


def _with_version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
