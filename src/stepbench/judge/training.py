"""Level 2: does free-running training end where the reference's ends?

Two one-sided tests (TOST; Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) on differences that
are paired by seed: ``equivalent`` when the confidence interval of the mean difference lies within the margin for every
measure, ``different`` when it lies wholly outside for any. Looking several times as seeds come in, each look gets an
equal share of the error (Bonferroni), so that the whole sequence keeps it; for ``different``, which any measure and
either side can bring about by chance, so does each of these.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from stepbench.judge.one_step import complaints_of
from stepbench.judge.statistics import mean_interval, standard_deviation, t_quantile
from stepbench.records.cases import (
    Verification,
    final_steps,
)
from stepbench.records.verify import Curve, Test

ERROR = 0.05
"""The chance, over all looks, to call variants equivalent that differ by the margin, or different that do not."""
FIRST_LOOK = 4
LOOK_EVERY = 2
FEWEST_POINTS = 4
"""Of a case and of the reference each, from which their steps are judged: the median of fewer is that of chance."""
LOSS = "final training loss"
MOST_FAULTS = 3
"""Told of the audit of the updates."""


class Verdict(StrEnum):
    """Whether a case converges like its reference."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    INCONCLUSIVE = "inconclusive"
    NOT_CHECKED = "not_checked"


class Equivalence(msgspec.Struct, frozen=True):
    """A verdict with its reasons."""

    verdict: Verdict = Verdict.NOT_CHECKED
    why: tuple[str, ...] = ()


def judge_curves(mine: Sequence[Curve], reference: Sequence[Curve], settings: Verification) -> Equivalence:
    """The verdict of level 2 on all seeds that both have."""
    others = {curve.seed: curve for curve in reference}
    for curve in mine:
        if _diverged(curve) and not (curve.seed in others and _diverged(others[curve.seed])):
            return Equivalence(Verdict.DIFFERENT, (f"the loss {_where_diverged(curve)}",))
    for curve in reference:
        if _diverged(curve):
            return Equivalence(Verdict.INCONCLUSIVE, (f"the reference's own loss {_where_diverged(curve)}",))
    if wrong := _faults(mine, reference) or _wrong_steps(mine, reference):
        return Equivalence(Verdict.DIFFERENT, wrong)
    pairs = [(curve, others[curve.seed]) for curve in mine if curve.seed in others]
    if len(pairs) < FIRST_LOOK:
        return Equivalence(
            Verdict.INCONCLUSIVE, (f"{len(pairs)} seeds are too few to judge: give at least {FIRST_LOOK}",)
        )
    return _judge_pairs(pairs, settings)


def _judge_pairs(pairs: Sequence[tuple[Curve, Curve]], settings: Verification) -> Equivalence:
    measures = [(LOSS, [(final_loss(a), final_loss(b)) for a, b in pairs])]
    measures += [
        (f"test {name}", [(mean_figure(a, name), mean_figure(b, name)) for a, b in pairs])
        for name in figure_names([curve for pair in pairs for curve in pair])
    ]
    error = ERROR / _looks(settings.seeds)
    judged = []
    for what, values in measures:
        margin = margin_of([other for _, other in values], settings)
        judged.append(_judge_differences(what, [a - b for a, b in values], margin, error, len(measures)))
    verdicts = {verdict for verdict, _ in judged}
    worst = next(v for v in (Verdict.DIFFERENT, Verdict.INCONCLUSIVE, Verdict.EQUIVALENT) if v in verdicts)
    return Equivalence(worst, tuple(why for found, why in judged if found is worst))


def _faults(mine: Sequence[Curve], reference: Sequence[Curve]) -> tuple[str, ...]:
    """What the audit of the updates found; nothing where the reference's own updates do not stand it."""
    if any(curve.faults for curve in reference):
        return ()
    found = [(curve, fault) for curve in mine for fault in curve.faults]
    told = [f"{fault.what} in step {fault.step + 1} (seed {curve.seed})" for curve, fault in found[:MOST_FAULTS]]
    more = len(found) - len(told)
    return (*told, *([f"and in {more} more"] if more else []))


def _wrong_steps(mine: Sequence[Curve], reference: Sequence[Curve]) -> tuple[str, ...]:
    """What the reference, taking some of the steps too, found; nothing where the reference's own do not stand it."""
    seen, others = (tuple(point for curve in curves for point in curve.points) for curves in (mine, reference))
    if min(len(seen), len(others)) < FEWEST_POINTS or complaints_of(others):
        return ()
    return tuple(f"as it trained, {complaint}" for complaint in complaints_of(seen))


def _diverged(curve: Curve) -> bool:
    return None in curve.losses


def _where_diverged(curve: Curve) -> str:
    return f"is NaN or infinite from step {len(curve.losses)} on (seed {curve.seed})"


def margin_of(reference: Sequence[float], settings: Verification) -> float:
    """In the unit of the values: as set, as a share of their mean, but no narrower than seeds spread by themselves."""
    return max(settings.margin * abs(statistics.fmean(reference)), standard_deviation(reference))


def final_loss(curve: Curve) -> float:
    """The mean loss over the last third of a training that stayed finite."""
    losses = [loss for loss in curve.losses if loss is not None]
    return statistics.fmean(losses[-final_steps(len(losses)) :])


def is_look(seeds_done: int, settings: Verification) -> bool:
    """Whether the sequence looks after so many seeds."""
    return seeds_done >= settings.seeds or (seeds_done >= FIRST_LOOK and (seeds_done - FIRST_LOOK) % LOOK_EVERY == 0)


def _looks(seeds: int) -> int:
    return 1 + max(0, math.ceil((seeds - FIRST_LOOK) / LOOK_EVERY))


def figures_of(test: Test) -> dict[str, float | None]:
    """What an evaluation gave beside the loss; records of before have an accuracy of its own."""
    return test.figures if test.accuracy is None else {"accuracy": test.accuracy, **test.figures}


def figure_names(curves: Sequence[Curve]) -> list[str]:
    """The figures that every training has, finite."""
    having = [
        {name for test in curve.tests for name, value in figures_of(test).items() if value is not None}
        for curve in curves
    ]
    return sorted(set.intersection(*having)) if having else []


def mean_figure(curve: Curve, name: str) -> float:
    """The mean over the evaluations of a training."""
    values = [figures_of(test).get(name) for test in curve.tests]
    return statistics.fmean(value for value in values if value is not None)


def _judge_differences(
    what: str, differences: Sequence[float], margin: float, error: float, measures: int
) -> tuple[Verdict, str]:
    """The verdict on one of some measures at one look, which may err with the chance ``error``."""

    def described(low: float, high: float) -> str:
        mean = statistics.fmean(differences)
        return f"{what} {mean:+.3g} [{low:+.3g}, {high:+.3g}], margin {margin:.3g}, {len(differences)} seeds"

    low, high = _bounds(differences, 1 - error / measures)
    if low > margin or high < -margin:
        return Verdict.DIFFERENT, described(low, high)
    confidence = 1 - 2 * error
    low, high = _bounds(differences, confidence)
    if -margin < low and high < margin:
        return Verdict.EQUIVALENT, described(low, high)
    return Verdict.INCONCLUSIVE, f"{described(low, high)}: {_what_it_takes(differences, margin, confidence)}"


def _bounds(differences: Sequence[float], confidence: float) -> tuple[float, float]:
    _, low, high = mean_interval(differences, confidence)
    assert low is not None, "there are several seeds"
    assert high is not None, "there are several seeds"
    return low, high


def _what_it_takes(differences: Sequence[float], margin: float, confidence: float) -> str:
    room = margin - abs(statistics.fmean(differences))
    if room <= 0:
        return "the difference itself is as large as the margin, so more seeds will hardly help"
    reach = t_quantile((1 + confidence) / 2, len(differences) - 1) * standard_deviation(differences)
    return f"about {max(len(differences) + 1, math.ceil((reach / room) ** 2))} seeds would tell"
