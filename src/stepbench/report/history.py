"""A case over the stored runs, as people and programs read it; its JSON is public."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stepbench.errors import StepbenchError
from stepbench.judge.compare import ratio_between
from stepbench.judge.history import FEWEST_RUNS, Change, RunTime, Series, series_of
from stepbench.judge.statistics import Estimate, from_logs, mean_log
from stepbench.records.cases import Case
from stepbench.records.machine import differences
from stepbench.records.run import Failure
from stepbench.records.store import Brief
from stepbench.report import formats
from stepbench.report.blocks import BOLD, Block, Paragraph, text_table
from stepbench.report.spreadsheet import bounded, bounds, comma_separated

SCHEMA = 1


class HistoryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The case in one run."""

    run: str
    started: dt.datetime
    commit: str | None
    dirty: bool | None
    machine: str
    """Its fingerprint."""
    machine_changed: bool
    """Whether the run before was another machine's."""
    failure: Failure | None
    step_time_s: Estimate | None
    """Null where the case failed."""
    ratio: Estimate | None
    """The step time over that of the run before on the same machine."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A case over the runs that hold it, oldest first."""

    schema: int = SCHEMA
    case: str
    points: tuple[HistoryPoint, ...]
    series: tuple[Series, ...]
    """The timed runs by machine, with the change points."""
    machines: dict[str, str]
    """What each fingerprint stands for."""
    notes: tuple[str, ...]
    """Sentences without a full stop."""


def history_of(case: Case, runs: Sequence[Brief], last: int | None = None) -> History:
    """The history of ``case``.

    Args:
        case: what to follow.
        runs: in order of time.
        last: only so many runs that have the case, as if there were no others.

    Raises:
        StepbenchError: when no run has timed it.
    """
    held = [found for run in runs if (found := _found(run, case))][-(last or 0) :]
    times = [RunTime(found.run.name, found.machine, found.logs) for found in held if found.logs]
    if not times:
        raise StepbenchError(f"No finished run has timed {case.id}: measure it with 'stepbench run'.")
    series = series_of(times)
    return History(
        case=case.id,
        points=_points(held),
        series=series,
        machines={found.machine: formats.machine(found.run.environment) for found in held},
        notes=(*_notes(series, {found.run.name: found.run for found in held}), *_unfinished_note(runs, case)),
    )


@dataclass(frozen=True)
class _Found:
    """The case in a run that timed it, or failed to."""

    run: Brief
    machine: str
    failure: Failure | None
    logs: tuple[float, ...]


def _found(run: Brief, case: Case) -> _Found | None:
    measured = next((one for one in run.measurements if one.case == case), None)
    if measured is None or not run.finished:
        return None
    seconds = ([block.seconds / block.steps for block in replicate.blocks] for replicate in measured.replicates)
    logs = () if measured.failure else tuple(mean_log(blocks) for blocks in seconds if blocks)
    if not logs and not measured.failure:  # Only verified, or traced.
        return None
    return _Found(run, run.environment.fingerprint, measured.failure, logs)


def _points(held: Sequence[_Found]) -> tuple[HistoryPoint, ...]:
    points: list[HistoryPoint] = []
    before: dict[str, tuple[float, ...]] = {}
    for found in held:
        repository = found.run.environment.repository
        point = HistoryPoint(
            run=found.run.name,
            started=found.run.started,
            commit=repository.commit if repository else None,
            dirty=repository.dirty if repository else None,
            machine=found.machine,
            machine_changed=bool(points) and points[-1].machine != found.machine,
            failure=found.failure,
            step_time_s=from_logs(found.logs),
            ratio=ratio_between(before[found.machine], found.logs) if found.logs and found.machine in before else None,
        )
        points.append(point)
        if found.logs:
            before[found.machine] = found.logs
    return tuple(points)


def _notes(series: Sequence[Series], runs: dict[str, Brief]) -> tuple[str, ...]:
    changes = sorted(
        (change for found in series for change in found.changes), key=lambda change: runs[change.run].started
    )
    firsts = [runs[found.segments[0].first] for found in series]
    return (
        *(_change_note(change, runs[change.previous], runs[change.run]) for change in changes),
        *(_outlier_note(found) for found in series if found.outliers),
        *(_short_note(found) for found in series if found.noise is None),
        *(_machine_note(run, firsts[:number]) for number, run in enumerate(firsts)),
    )


def _change_note(change: Change, before: Brief, after: Brief) -> str:
    old, new = (str(run.environment.repository or "no repository") for run in (before, after))
    facts = [f"commit: {old} vs {new}"] if old != new else []
    facts += differences(before.environment, after.environment)
    return f"{formats.change(change.ratio)} from run {change.run} on ({'; '.join(facts) or 'of the same commit'})"


def _short_note(series: Series) -> str:
    runs = f"{series.runs} run{'s' * (series.runs > 1)}"
    return f"machine {formats.short(series.machine)}: {runs}, and changes are looked for in {FEWEST_RUNS} or more"


def _outlier_note(series: Series) -> str:
    return f"outliers, which no level counts: {', '.join(series.outliers)}"


def _unfinished_note(runs: Sequence[Brief], case: Case) -> tuple[str, ...]:
    found = [run.name for run in runs if not run.finished and case in run.plan.cases]
    return (f"unfinished runs are left out: {', '.join(found)}",) if found else ()


def _machine_note(run: Brief, others: Sequence[Brief]) -> str:
    environment = run.environment
    text = f"machine {formats.short(environment.fingerprint)}: {formats.machine(environment)}"
    if not others:
        return text
    other = others[-1].environment
    return f"{text}; against {formats.short(other.fingerprint)}: {'; '.join(differences(other, environment))}"


def blocks(history: History) -> list[Block]:
    """A row a run, oldest first."""
    changes = {change.run: change for found in history.series for change in found.changes}
    rows = [_row(point, changes.get(point.run)) for point in history.points]
    styles = {number: _style(point, changes.get(point.run)) for number, point in enumerate(history.points)}
    title = f"{history.case} over {len(history.points)} run{'s' * (len(history.points) > 1)}"
    prose = ("run", "started", "commit", "machine")
    table = text_table((*prose, "ms a step", "against the one before", "change point"), rows, prose, styles=styles)
    return [Paragraph(title, style=BOLD), table, Paragraph("", history.notes)]


def _row(point: HistoryPoint, change: Change | None) -> tuple[str, ...]:
    return (
        point.run,
        formats.moment(point.started),
        formats.commit(point.commit, dirty=point.dirty),
        f"{'→ ' * point.machine_changed}{formats.short(point.machine)}",
        f"failed: {point.failure.kind}" if point.failure else formats.estimate(point.step_time_s, scale=1e3),
        formats.change(point.ratio),
        formats.change(change.ratio) if change else "",
    )


def _style(point: HistoryPoint, change: Change | None) -> str:
    if point.failure:
        return "red"
    if change is None:
        return ""
    return "red" if change.ratio.value > 1 else "green"


def history_csv(history: History) -> str:
    """A line a run, with full precision."""
    changes = {change.run: change.ratio for found in history.series for change in found.changes}
    estimates = ("step_time_s", "ratio", "change")
    plain = ("run", "started", "commit", "dirty", "machine", "machine_changed", "failure")
    heads = ("case", *plain, *bounded(estimates))
    rows = [
        [
            *(history.case, point.run, point.started.isoformat(), point.commit, point.dirty),
            *(point.machine, point.machine_changed, point.failure.kind.value if point.failure else ""),
            *(bound for found in (point.step_time_s, point.ratio, changes.get(point.run)) for bound in bounds(found)),
        ]
        for point in history.points
    ]
    return comma_separated(heads, rows)
