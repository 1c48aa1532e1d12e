"""The page of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepbench.records.store import Run
from stepbench.report import case_tables, columns
from stepbench.report.blocks import Paragraph, Table
from stepbench.report.case_summary import CaseSummary
from stepbench.report.explain import explained, traced
from stepbench.report.html import cases as tables
from stepbench.report.html.explain import explanation_blocks
from stepbench.report.html.facts import environment_facts, moment, reproduction
from stepbench.report.html.figures.groups import MOST_GROUPS, CaseGroup, groups
from stepbench.report.html.figures.losses import losses
from stepbench.report.html.figures.memory import memory
from stepbench.report.html.figures.plot import Plot
from stepbench.report.html.figures.roofline import roofline
from stepbench.report.html.figures.scaling import scaling
from stepbench.report.html.figures.speedups import speedups
from stepbench.report.html.figures.step_times import step_times
from stepbench.report.html.figures.work import work
from stepbench.report.html.rendering import drawn, render
from stepbench.report.html.svg import write_files
from stepbench.report.html.verdicts import best_of, findings, verdicts
from stepbench.report.html.view import Page, PageBlock, Part, Section, section
from stepbench.report.report import limits
from stepbench.report.summary import Summary


@dataclass(frozen=True)
class Place:
    """The cases of one workload on one device, in their run."""

    run: Run
    summary: Summary
    group: CaseGroup


Maker = Callable[[Place], Sequence[PageBlock]]
"""Makes what there is to show of a place on one topic, if anything."""


def page(run: Run, summary: Summary) -> str:
    """The page of a run, finished or not, as HTML."""
    cases = [tables.cases_table(summary.cases)] if summary.cases else []
    return render(
        Page(
            title=f"stepbench run {run.run_id}",
            meta=_meta(run, summary),
            verdicts=verdicts(summary),
            alerts=_alerts(run, summary),
            sections=[
                *section("cases", "All cases", [Part("", cases)]),
                *_topics(run, summary),
                *section("environment", "Environment", [Part("", environment_facts(run.environment))]),
                *section("warnings", "Warnings and failures", _notes(summary)),
                *section("reproduce", "How to reproduce", [Part("", reproduction(run))]),
            ],
        )
    )


def figures(run: Run, summary: Summary) -> list[Plot]:
    """The figures of a run's page."""
    return [plot for group in groups(run, summary) for make in FIGURES for plot in make(group)]


def write_figures(run: Run, summary: Summary, folder: Path) -> None:
    """Write each figure of a run's page as SVG and as PNG.

    Raises:
        StepbenchError: when they cannot be written.
    """
    for plot in figures(run, summary):
        write_files(plot, folder)


def _meta(run: Run, summary: Summary) -> list[tuple[str, str]]:
    machine, software = run.environment.cpu, run.environment.software
    cores = f", {machine.usable_cores:g} cores" if machine.usable_cores else ""
    return [
        ("run", run.run_id),
        ("measured", moment(run.started)),
        (
            "machine",
            f"{machine.model or 'unknown CPU'}{cores}{''.join(f', {gpu.name}' for gpu in run.environment.gpus)}",
        ),
        ("TensorFlow", software.packages.get("tensorflow", "unknown")),
        ("data", summary.data),
    ]


def _alerts(run: Run, summary: Summary) -> list[str]:
    unfinished = f"This run is unfinished: continue it with 'stepbench run --resume {run.run_id}'."
    found = findings(summary.cases)
    drawn_groups = len(case_tables.groups(summary.cases))
    left_out = (
        f"Figures are drawn for {MOST_GROUPS} of {drawn_groups} workloads and devices: "
        "see the others with 'stepbench report --format html --case'."
    )
    return [
        *([] if run.finished else [unfinished]),
        *([f"{found}: see the warnings and failures."] if found else []),
        *([left_out] if drawn_groups > MOST_GROUPS else []),
    ]


def _topics(run: Run, summary: Summary) -> list[Section]:
    places = [Place(run, summary, group) for group in groups(run, summary)]
    several = len(case_tables.groups(summary.cases)) > 1
    return [
        found
        for (name, title), makers in TOPICS.items()
        for found in section(
            name,
            title,
            [
                Part(place.group.title if several else "", [block for make in makers for block in make(place)])
                for place in places
            ],
        )
    ]


def _figure(make: Callable[[CaseGroup], list[Plot]]) -> Maker:
    return lambda place: drawn(make(place.group))


def _table(make: Callable[[str, str, Sequence[CaseSummary]], Table | None], name: str) -> Maker:
    def made(place: Place) -> list[PageBlock]:
        table = make(f"{name}-{place.group.name}", place.group.title, place.group.cases)
        return [table] if table else []

    return made


def _limits(place: Place) -> list[PageBlock]:
    """What the devices attained, and what their makers say, above the figure."""
    return [Paragraph("", limits(place.summary))] if roofline(place.group) else []


def _explanation(place: Place) -> list[PageBlock]:
    """Why the best case is faster than its reference, if both have traces."""
    group = place.group
    best = best_of(place.summary, group.cases)
    references = filter(columns.is_reference, group.cases)
    reference = next((case for case in references if best and case.batch_size == best.batch_size), None)
    if best is None or reference is None or best is reference:
        return []
    one, other = group.measurements[best.id], group.measurements[reference.id]
    if not one.trace or not other.trace:
        return []
    return explanation_blocks(f"explained-{group.name}", explained(traced(place.run, one), traced(place.run, other)))


def _notes(summary: Summary) -> list[Part]:
    groups_of_cases = case_tables.groups(summary.cases)
    several = len(groups_of_cases) > 1
    return [Part(title if several else "", tables.notes(cases)) for title, cases in groups_of_cases]


FIGURES = (speedups, step_times, losses, work, roofline, memory, scaling)
TOPICS: Mapping[tuple[str, str], Sequence[Maker]] = {
    ("speed-ups", "Speed-ups"): [_figure(speedups)],
    ("step-times", "Step times"): [_figure(step_times)],
    ("convergence", "Convergence"): [_table(tables.convergence_table, "verdicts"), _figure(losses)],
    ("work", "Where the time goes"): [_figure(work), _table(tables.profile_table, "profile"), _explanation],
    ("efficiency", "Efficiency"): [_limits, _figure(roofline), _table(tables.efficiency_table, "efficiency")],
    ("scaling", "Scaling"): [_figure(scaling)],
    ("memory", "Memory"): [_figure(memory)],
}
"""The sections about each place, by their names and titles."""
