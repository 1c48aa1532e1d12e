"""The command ``run``, and with it ``verify`` and ``profile``: a plan measured to its end, and left as a run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from stepbench.commands.invocation import command_line
from stepbench.commands.plan import Planned, how_asked, make_plan
from stepbench.commands.request import Request
from stepbench.errors import InterruptedRunError
from stepbench.records.cases import Plan
from stepbench.records.progress import Progress, Say, Tell, untold
from stepbench.records.store import LOGS_FOLDER, TENSORBOARD_FOLDER, Journal, Run, Store
from stepbench.training.locate import is_script


def run(
    request: Request,
    results: Path,
    tell: Tell,
    say: Say,
    *,
    resume: str | None = None,
    tuned: bool = False,
    budget_s: float | None = None,
) -> tuple[Run, Path]:
    """A new run, or an old one continued, measured to its end; and its folder.

    Args:
        request: what is asked for.
        results: the folder that holds runs.
        tell: told how far it is.
        say: told what there is to say of how workloads were understood.
        resume: the run to continue.
        tuned: whether to measure what the newest race found, in place of the request's cases.
        budget_s: about how long to measure at most.

    Raises:
        InterruptedRunError: on Ctrl-C; what was measured is on disk.
        StepbenchError: when something of it does not exist, cannot be, or cannot be written.
    """
    store = Store(results)
    if resume is not None:
        found = store.read(resume)
        store = Store(store.locate(resume).parent)
    else:
        store.check_writable()
        tell(Progress(0, 0, "looking at the workload and the devices"))
        planned = tuned_plan(request, store) if tuned else make_plan(request)
        for remark in (*planned.plan.remarks, *_script_runs(planned.plan)):
            say(remark)
        found = start_run(planned, store)
    return found if found.finished else measure_run(found, store, tell, budget_s), store.folder(found.run_id)


def tuned_plan(request: Request, store: Store) -> Planned:
    """The plan for what the newest finished race found: its winner, beside its default and their reference.

    Raises:
        StepbenchError: when there is no such race.
    """
    race = store.newest_race()
    found, winner = store.read(race.run_id), race.winner or race.default
    plan = msgspec.structs.replace(
        found.plan.with_cases(tuple(dict.fromkeys((race.default.reference, race.default, winner)))),
        **how_asked(request),
        remarks=(*found.plan.remarks, f"These are the default and the winner of the race {race.run_id}"),
    )
    return Planned(plan, found.data)


def _script_runs(plan: Plan) -> list[str]:
    """About how often a script will be run: whenever something is built from it."""
    if not any(map(is_script, plan.workloads.values())):
        return []
    cases, precisions = len(plan.cases), len({case.variant.precision for case in plan.cases})
    timing = cases * plan.replicates + (precisions if plan.replicates else 0)
    tracing = cases if plan.tracing else 0
    verifying = 1 + precisions + 3 * cases + precisions * (3 + plan.verification.seeds) if plan.verification else 0
    return [f"In all it will be run some {1 + timing + tracing + verifying} times"]


def start_run(planned: Planned, store: Store) -> Run:
    """Create the folder of a new run.

    Raises:
        StepbenchError: when it cannot be written.
    """
    from stepbench.probes.environment import collect

    return store.create(
        planned.plan, planned.in_environment(collect(Path.cwd())), command=command_line(), data=planned.data
    )


def measure_run(run: Run, store: Store, tell: Tell = untold, budget_s: float | None = None) -> Run:
    """Measure what remains of ``run`` and give it back complete.

    Raises:
        InterruptedRunError: on Ctrl-C; what was measured is on disk.
        StepbenchError: when the run's folder cannot be written.
    """
    from stepbench.engine.limits import assess
    from stepbench.engine.profile import profile
    from stepbench.engine.rounds import measure, remaining_teams
    from stepbench.engine.verify import verify

    folder = store.folder(run.run_id)
    try:
        with Journal(folder) as journal:
            teams = remaining_teams(run.plan, store.read(run.run_id).measurements)  # As nobody else changes it now.
            measure(run.plan, teams, journal, folder / LOGS_FOLDER, tell, budget_s)
            if run.plan.replicates:
                timed = store.read(run.run_id)
                attainable = assess(timed.plan, timed.measurements, timed.attainable, journal, folder, tell)
                store.write(msgspec.structs.replace(timed, attainable=attainable))
            if run.plan.tracing:
                profile(run.plan, store.read(run.run_id).measurements, journal, folder, tell)
            if run.plan.verification:
                verify(run.plan, store.read(run.run_id).measurements, journal, folder, tell)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; what was measured is kept: continue with 'stepbench run --resume {run.run_id}'."
        ) from None
    measured = store.read(run.run_id)
    complete = msgspec.structs.replace(measured, finished=dt.datetime.now(dt.UTC))
    store.write(complete)
    _show(complete, folder)
    return complete


def _show(run: Run, folder: Path) -> None:
    """Leave what shows a run beside it: its files for TensorBoard and its page."""
    from stepbench.report.html.files import REPORT_FILE, leave_page
    from stepbench.report.summary import summarize
    from stepbench.report.tensorboard import write_logdir

    summary = summarize(run)
    write_logdir(run, summary, folder / TENSORBOARD_FOLDER)

    def draw() -> str:
        from stepbench.report.html.report import page

        return page(run, summary)

    leave_page(draw, folder / REPORT_FILE)
