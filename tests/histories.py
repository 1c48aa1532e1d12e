"""Stored runs of one case over time, for tests of histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from builders import ENVIRONMENT, STARTED, make_case, make_measurement, make_run

from stepbench.records.cases import Case
from stepbench.records.machine import Cpu, Environment, Repository
from stepbench.records.store import Brief, Run, Store, read_briefs
from stepbench.report.history import History, history_of

CASE = make_case()
ELSEWHERE = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU", usable_cores=8.0))
NOISE = (0.003, -0.004, 0.001, 0.006, -0.005, 0.002, -0.001, 0.004, -0.003, -0.006)
"""By which shares successive runs differ from their level."""


def committed(number: int, environment: Environment = ENVIRONMENT, **changes: Any) -> Environment:
    """The environment with a commit of its own."""
    repository = msgspec.structs.replace(Repository(commit=f"{number:x}" * 40, dirty=False), **changes)
    return msgspec.structs.replace(environment, repository=repository)


def run_at(number: int, step_ms: float, *, case: Case = CASE, **changes: Any) -> Run:
    """The run of that number in order of time, of three replicates about that step time."""
    rng = random.Random(number)  # noqa: S311 - noise.
    level = step_ms * (1 + NOISE[number % len(NOISE)]) / 100
    replicates = [[level * rng.uniform(0.998, 1.002)] * 3 for _ in range(3)]
    started = STARTED + timedelta(hours=number)
    run = make_run(make_measurement(case, *replicates), run_id=f"run-{number:02}", started=started)
    return msgspec.structs.replace(run, **changes)


def stored(folder: Path, runs: Sequence[Run]) -> tuple[Brief, ...]:
    for run in runs:
        Store(folder).write(run)
    return read_briefs(folder).runs


def followed(folder: Path, *runs: Run, case: Case = CASE, last: int | None = None) -> History:
    """The history of the case over these runs, stored and read again."""
    return history_of(case, stored(folder, runs), last)


def stepping(count: int = 16, at: int = 8, share: float = 0.1) -> list[Run]:
    """Runs of 10 ms, and that much more from the given one on."""
    return [run_at(n, 10 * (1 + share * (n >= at)), environment=committed(n % 16)) for n in range(count)]
