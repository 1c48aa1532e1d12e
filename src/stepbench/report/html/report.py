"""The page of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stepbench.records.store import Run
from stepbench.report import case_tables, columns
from stepbench.report.blocks import Paragraph, Table
from stepbench.report.case_summary import CaseSummary
from stepbench.report.explain import explained, traced
from stepbench.report.html import cases as tables
from stepbench.report.html.explain import explanation_blocks
from stepbench.report.html.facts import environment_facts, moment, reproduction
from stepbench.report.html.figures.plot import CaseGroup, Plot
from stepbench.report.html.plots import MOST_GROUPS, Plots, groups, plots
from stepbench.report.html.rendering import drawn, render
from stepbench.report.html.svg import write_files
from stepbench.report.html.verdicts import best_of, findings, verdicts
from stepbench.report.html.view import Page, PageBlock, Part, Section, section
from stepbench.report.report import limits
from stepbench.report.summary import Summary

TableMaker = Callable[[str, str, Sequence[CaseSummary]], Table | None]


def page(run: Run, summary: Summary) -> str:
    """The page of a run, finished or not, as HTML."""
    drawings = _plots(run, summary)
    return render(
        Page(
            title=f"stepbench run {run.run_id}",
            meta=_meta(run, summary),
            verdicts=verdicts(summary),
            alerts=_alerts(run, summary),
            sections=[
                *section(
                    "cases", "All cases", [Part("", [tables.cases_table(summary.cases)] if summary.cases else [])]
                ),
                *_figure_sections(run, summary, drawings),
                *section("environment", "Environment", [Part("", environment_facts(run.environment))]),
                *section("warnings", "Warnings and failures", _notes(summary)),
                *section("reproduce", "How to reproduce", [Part("", reproduction(run))]),
            ],
        )
    )


def figures(run: Run, summary: Summary) -> list[Plot]:
    """The figures of a run's page."""
    return [plot for drawing in _plots(run, summary) for plot in drawing.all()]


def write_figures(run: Run, summary: Summary, folder: Path) -> None:
    """Write each figure of a run's page as SVG and as PNG.

    Raises:
        StepbenchError: when they cannot be written.
    """
    for plot in figures(run, summary):
        write_files(plot, folder)


def _plots(run: Run, summary: Summary) -> list[Plots]:
    return [plots(group, run.attainable) for group in groups(run, summary)[:MOST_GROUPS]]


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


def _figure_sections(run: Run, summary: Summary, drawings: Sequence[Plots]) -> list[Section]:
    several = len(case_tables.groups(summary.cases)) > 1

    def parts(*lists: Sequence[Sequence[PageBlock]]) -> list[Part]:
        """One for each group, of what the lists hold for it."""
        titles = [drawing.group.title if several else "" for drawing in drawings]
        return [
            Part(title, [block for blocks in mine for block in blocks])
            for title, *mine in zip(titles, *lists, strict=True)
        ]

    return [
        *section("speed-ups", "Speed-ups", parts([drawn(one.speedups) for one in drawings])),
        *section("step-times", "Step times", parts([drawn(one.step_times) for one in drawings])),
        *section(
            "convergence",
            "Convergence",
            parts(
                [_table(tables.convergence_table, "verdicts", one.group) for one in drawings],
                [drawn(one.losses) for one in drawings],
            ),
        ),
        *section(
            "work",
            "Where the time goes",
            parts(
                [drawn(one.work) for one in drawings],
                [_table(tables.profile_table, "profile", one.group) for one in drawings],
                [_explanation(run, summary, one.group) for one in drawings],
            ),
        ),
        *section(
            "efficiency",
            "Efficiency",
            parts(
                [_limits(summary, one) for one in drawings],
                [drawn(one.efficiency) for one in drawings],
                [_table(tables.efficiency_table, "efficiency", one.group) for one in drawings],
            ),
        ),
        *section("scaling", "Scaling", parts([drawn(one.scaling) for one in drawings])),
        *section("memory", "Memory", parts([drawn(one.memory) for one in drawings])),
    ]


def _table(make: TableMaker, name: str, group: CaseGroup) -> list[PageBlock]:
    table = make(f"{name}-{group.name}", group.title, group.cases)
    return [table] if table else []


def _limits(summary: Summary, drawing: Plots) -> list[PageBlock]:
    """What the devices attained, and what their makers say, above the figure."""
    return [Paragraph("", limits(summary))] if drawing.efficiency else []


def _explanation(run: Run, summary: Summary, group: CaseGroup) -> list[PageBlock]:
    """Why the best case is faster than its reference, if both have traces."""
    best = best_of(summary, group.cases)
    references = filter(columns.is_reference, group.cases)
    reference = next((case for case in references if best and case.batch_size == best.batch_size), None)
    if best is None or reference is None or best is reference:
        return []
    one, other = group.measurements[best.id], group.measurements[reference.id]
    if not one.trace or not other.trace:
        return []
    return explanation_blocks(f"explained-{group.name}", explained(traced(run, one), traced(run, other)))


def _notes(summary: Summary) -> list[Part]:
    groups_of_cases = case_tables.groups(summary.cases)
    several = len(groups_of_cases) > 1
    return [Part(title if several else "", tables.notes(cases)) for title, cases in groups_of_cases]
