"""The page of a race."""

from __future__ import annotations

import math

from stepbench.judge.statistics import from_logs
from stepbench.judge.training import Verdict
from stepbench.judge.tune import Costs, costs_of, differences, log_time
from stepbench.records.cases import Case
from stepbench.records.store import Run
from stepbench.records.tune import Race
from stepbench.report.html.facts import environment_facts, moment
from stepbench.report.html.figures.races import Runner, race_figure
from stepbench.report.html.names import short_names
from stepbench.report.html.rendering import drawn, render
from stepbench.report.html.view import Conclusion, Page, Part, section
from stepbench.report.tune import chapters, headline
from stepbench.report.tuned import Tuned

TONES = {Verdict.EQUIVALENT: "good", Verdict.DIFFERENT: "bad"}


def tune_page(race: Race, run: Run, found: Tuned) -> str:
    """The page of a race, finished or not, as HTML.

    Args:
        race: as far as it went.
        run: with its measurements.
        found: what came of it.
    """
    first, *rest = chapters(found)
    verdict = Conclusion(
        scope="what to use",
        headline=headline(found),
        tone=TONES.get(found.winner.equivalence.verdict, "doubtful"),
        badge=found.winner.equivalence.verdict.replace("_", " "),
        why=[point for block in first for point in getattr(block, "points", ())],
    )
    return render(
        Page(
            title=f"stepbench tune {race.run_id}",
            meta=[("run", race.run_id), ("measured", moment(run.started)), ("data", run.data)],
            verdicts=[verdict],
            alerts=[],
            sections=[
                *section("race", "The race", [Part("", drawn(race_figure(_runners(race, run, found), "the default")))]),
                *section("found", "What was found", [Part("", [block for chapter in rest for block in chapter])]),
                *section("environment", "Environment", [Part("", environment_facts(run.environment))]),
            ],
        )
    )


def _course(race: Race, raced: Costs[Case], case: Case) -> list[tuple[float, float]]:
    """When each heat of a candidate ended, and how fast it looked by then."""
    course, seconds, known = [], 0.0, set()
    for heat in race.heats:
        seconds += heat.seconds
        known.add(heat.number)
        if heat.number in raced[case] and heat.number in raced[race.default]:
            until = {one: {n: cost for n, cost in raced[one].items() if n in known} for one in (case, race.default)}
            course.append((seconds, math.exp(-log_time(until, case, race.default))))
    return course


def _runners(race: Race, run: Run, found: Tuned) -> list[Runner]:
    """All candidates that have a figure, those still racing first, each part fastest first."""
    costs = costs_of(run.measurements, race.training_steps)
    numbers = {heat.number for heat in race.heats}
    raced = {case: {n: cost for n, cost in of.items() if n in numbers} for case, of in costs.items()}
    names = short_names(raced)
    left = {one.id: one.after_s for one in found.eliminated}
    runners = []
    for case, found_of in raced.items():
        speed = from_logs(differences(raced, race.default, case)) if race.default in raced else None
        if speed:
            is_winner = case.id == found.winner.id
            course = _course(race, raced, case)
            runners.append(Runner(names[case.id], speed, len(found_of), left.get(case.id), is_winner, course))
    return sorted(runners, key=lambda one: (one.left_s is not None, -math.log(one.speedup.value)))
