"""Lists of stored runs and of baselines, as people and programs read them; their JSON is public."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from stepbench.records.machine import Environment, differences
from stepbench.records.store import Brief
from stepbench.report import formats
from stepbench.report.columns import machine
from stepbench.report.grid import Grid, comma_separated_rows

SCHEMA = 1


class ListedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in one row."""

    name: str
    """What finds it: its id, or the baseline's name."""
    run_id: str
    started: dt.datetime
    finished: bool
    machine: str
    """Its fingerprint."""
    machine_name: str
    this_machine: bool
    data: str
    cases: int
    failed: int
    commit: str | None
    dirty: bool | None


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """Stored runs, oldest first."""

    schema: int = SCHEMA
    runs: tuple[ListedRun, ...]


def list_runs(runs: Sequence[Brief], fingerprint: str) -> RunList:
    """The runs in rows.

    Args:
        runs: in order of time.
        fingerprint: this machine's.
    """
    return RunList(runs=tuple(_listed(run, fingerprint) for run in runs))


def _listed(run: Brief, fingerprint: str) -> ListedRun:
    repository = run.environment.repository
    return ListedRun(
        name=run.name,
        run_id=run.run_id,
        started=run.started,
        finished=run.finished is not None,
        machine=run.environment.fingerprint,
        machine_name=machine(run.environment),
        this_machine=run.environment.fingerprint == fingerprint,
        data=run.data,
        cases=len(run.plan.cases),
        failed=sum(found.failure is not None for found in run.measurements),
        commit=repository.commit if repository else None,
        dirty=repository.dirty if repository else None,
    )


def runs_grid(listed: RunList) -> Grid:
    """A row a run."""
    heads = ("run", "started", "machine", "data", "cases", "commit")
    rows = [
        (run.name, formats.moment(run.started), _machine(run), run.data, _cases(run), _commit(run))
        for run in listed.runs
    ]
    return Grid(f"{len(rows)} stored run{'s' * (len(rows) != 1)}", heads, rows)


def baselines_grid(listed: RunList) -> Grid:
    """A row a baseline."""
    heads = ("baseline", "run", "machine", "started", "commit")
    rows = [(run.name, run.run_id, _machine(run), formats.moment(run.started), _commit(run)) for run in listed.runs]
    return Grid(f"{len(rows)} baseline{'s' * (len(rows) != 1)}", heads, rows)


def run_list_csv(listed: RunList) -> str:
    """All that is known, a line a run."""
    heads = ListedRun.__struct_fields__
    return comma_separated_rows(heads, [[getattr(run, head) for head in heads] for run in listed.runs])


def whose_machine(name: str, environment: Environment, here: Environment) -> str:
    """A sentence on whether a baseline's times may be compared with those measured now."""
    if environment.fingerprint == here.fingerprint:
        return f"Baseline {name} is of this machine."
    unlike = formats.plain("; ".join(differences(environment, here)))
    return f"Baseline {name} is of another machine, whose times cannot be compared with this one's ({unlike})."


def _machine(run: ListedRun) -> str:
    return f"{formats.short(run.machine)} · {'this one' if run.this_machine else run.machine_name}"


def _cases(run: ListedRun) -> str:
    marks = [f"{run.failed} failed"] * bool(run.failed) + ["unfinished"] * (not run.finished)
    return ", ".join([str(run.cases), *marks])


def _commit(run: ListedRun) -> str:
    return formats.commit(run.commit, dirty=run.dirty)
