"""Lists of stored runs and of baselines, as people and programs read them; their JSON is public."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from stepbench.records.machine import Environment, differences
from stepbench.records.store import Brief
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table
from stepbench.report.spreadsheet import comma_separated

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


def list_runs(runs: Sequence[Brief], here: Environment) -> RunList:
    """The runs in rows.

    Args:
        runs: in order of time.
        here: this machine.
    """
    return RunList(runs=tuple(_listed(run, here) for run in runs))


def _listed(run: Brief, here: Environment) -> ListedRun:
    repository = run.environment.repository
    return ListedRun(
        name=run.name,
        run_id=run.run_id,
        started=run.started,
        finished=run.finished is not None,
        machine=run.environment.fingerprint,
        machine_name=formats.machine(run.environment),
        this_machine=run.environment.is_same_machine(here),
        data=run.data,
        cases=len(run.plan.cases),
        failed=sum(found.failure is not None for found in run.measurements),
        commit=repository.commit if repository else None,
        dirty=repository.dirty if repository else None,
    )


def run_blocks(listed: RunList) -> list[Block]:
    """A row a run."""
    rows = [
        (run.name, formats.moment(run.started), _machine(run), run.data, _cases(run), _commit(run))
        for run in listed.runs
    ]
    return _list("stored run", ("run", "started", "machine", "data", "cases", "commit"), rows)


def baseline_blocks(listed: RunList) -> list[Block]:
    """A row a baseline."""
    rows = [(run.name, run.run_id, _machine(run), formats.moment(run.started), _commit(run)) for run in listed.runs]
    return _list("baseline", ("baseline", "run", "machine", "started", "commit"), rows)


def _list(what: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Block]:
    title = f"{len(rows)} {what}{'s' * (len(rows) != 1)}"
    return [Paragraph(title, style=BOLD), text_table(heads, rows, heads)]


def run_list_csv(listed: RunList) -> str:
    """All that is known, a line a run."""
    heads = ListedRun.__struct_fields__
    return comma_separated(heads, [[getattr(run, head) for head in heads] for run in listed.runs])


def whose_machine(name: str, environment: Environment, here: Environment) -> str:
    """A sentence on whether a baseline's times may be compared with those measured now."""
    if environment.is_same_machine(here):
        kept_apart = ", of workers that were started: their times are not compared with those of forked ones"
        return f"Baseline {name} is of this machine{'' if environment.forks else kept_apart}."
    unlike = formats.plain("; ".join(differences(environment, here)))
    return f"Baseline {name} is of another machine, whose times cannot be compared with this one's ({unlike})."


def _machine(run: ListedRun) -> str:
    return f"{formats.short(run.machine)} · {'this one' if run.this_machine else run.machine_name}"


def _cases(run: ListedRun) -> str:
    marks = [f"{run.failed} failed"] * bool(run.failed) + ["unfinished"] * (not run.finished)
    return ", ".join([str(run.cases), *marks])


def _commit(run: ListedRun) -> str:
    return formats.commit(run.commit, dirty=run.dirty)
