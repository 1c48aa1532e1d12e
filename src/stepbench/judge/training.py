"""Level 2: does free-running training end where the reference's ends? And the verdict from both levels.

Two one-sided tests (TOST; Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) on differences that
are paired by seed: ``equivalent`` when the confidence interval of the mean difference lies within the margin for every
measure, ``different`` when it lies wholly outside for any. Looking several times as seeds come in, each look gets an
equal share of the error (Bonferroni), so that the whole sequence keeps it; for ``different``, which any measure and
either side can bring about by chance, so does each of these.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from stepbench.judge.one_step import agrees, complaints
from stepbench.judge.statistics import mean_interval, t_quantile
from stepbench.records.cases import (
    DEFAULT_EXECUTIONS,
    EAGER,
    GRAPH,
    Case,
    Precision,
    Variant,
    Verification,
    final_steps,
)
from stepbench.records.run import Measurement
from stepbench.records.verify import Curve

ERROR = 0.05
"""The chance, over all looks, to call variants equivalent that differ by the margin, or different that do not."""
FIRST_LOOK = 4
LOOK_EVERY = 2
ACCURACY_MARGIN = 0.02
MEASURES = 2
"""The final training loss and the test accuracy."""


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


def judge_cases(measurements: Sequence[Measurement], settings: Verification) -> dict[Case, Equivalence]:
    """The verdict of every case."""
    by_case = {measurement.case: measurement for measurement in measurements}
    return {case: _judge_case(by_case[case], by_case, settings) for case in by_case}


def anchor_of(case: Case, by_case: Mapping[Case, Measurement]) -> Measurement | None:
    """The measurement whose trainings stand for the reference's: graph/float32, or else a float32 twin of it.

    Eager steps are several times slower; level 1 shows that the anchor's step is the reference's up to rounding.
    """
    candidates = [
        measurement
        for measurement in by_case.values()
        if measurement.case.group == case.group
        and measurement.case.variant.precision is Precision.FLOAT32
        and measurement.case.variant.execution in DEFAULT_EXECUTIONS
        and agrees(measurement.agreement)
    ]
    return min(candidates, key=lambda found: (not _is_anchor_kind(found.case), _step_s(found)), default=None)


def trains_for(measurement: Measurement, by_case: Mapping[Case, Measurement]) -> Measurement | None:
    """The measurement whose trainings speak for this one: itself, or another that differs by rounding only.

    Built-in executions are one step wrapped in different ways, so where level 1 finds that two of the same precision
    both agree, the faster one trains for both. Any other step trains itself, as it may hide a state that level 1
    cannot set; it is spared the rest once a whole training is bit-identical to a built-in one's. None when level 1
    found it different.
    """
    if measurement.agreement is None or complaints(measurement.agreement):
        return None
    twins = [other for other in by_case.values() if _is_twin(measurement, other)]
    # The anchor, which trains in any case, speaks for all of float32.
    return min(twins, key=lambda twin: (not _is_anchor_kind(twin.case), _step_s(twin)), default=measurement)


def _is_twin(measurement: Measurement, other: Measurement) -> bool:
    mine, theirs = measurement.case, other.case
    if mine.group != theirs.group or mine.variant.precision != theirs.variant.precision:
        return False
    if theirs.steps_per_call > 1 or theirs.variant.execution not in DEFAULT_EXECUTIONS or not agrees(other.agreement):
        return False
    if mine.variant.execution in DEFAULT_EXECUTIONS:
        return agrees(measurement.agreement)
    others = {curve.seed: curve.losses for curve in other.curves}
    return bool(measurement.curves) and all(others.get(curve.seed) == curve.losses for curve in measurement.curves)


def _is_anchor_kind(case: Case) -> bool:
    return case.variant == Variant(GRAPH, Precision.FLOAT32)


def _step_s(measurement: Measurement) -> float:
    return measurement.agreement.step_s if measurement.agreement else math.inf


def _judge_case(measurement: Measurement, by_case: Mapping[Case, Measurement], settings: Verification) -> Equivalence:
    if measurement.agreement is None:
        failure = measurement.verification_failure
        return Equivalence(why=(f"{failure.kind}: {failure.message}",) if failure else ())
    if wrong := complaints(measurement.agreement):
        return Equivalence(Verdict.DIFFERENT, wrong)
    variant = measurement.case.variant
    if (variant.execution, variant.precision) == (EAGER, Precision.FLOAT32):
        return Equivalence(Verdict.EQUIVALENT, ("it is the reference",))
    return _judge_trainings(measurement, by_case, settings)


def _judge_trainings(
    measurement: Measurement, by_case: Mapping[Case, Measurement], settings: Verification
) -> Equivalence:
    anchor, trained = anchor_of(measurement.case, by_case), trains_for(measurement, by_case)
    if anchor is None:
        return Equivalence(why=("no float32 variant to train against: add graph/float32",))
    assert trained, "level 1 found nothing"
    notes = _notes(measurement, trained)
    if trained.case == anchor.case:
        return Equivalence(Verdict.EQUIVALENT, ("its step is the reference's up to rounding", *notes))
    if failure := trained.verification_failure or anchor.verification_failure:
        return Equivalence(why=(f"{failure.kind}: {failure.message}", *notes))
    judged = judge_curves(trained.curves, anchor.curves, settings)
    return Equivalence(judged.verdict, (*judged.why, *notes))


def _notes(measurement: Measurement, trained: Measurement) -> tuple[str, ...]:
    agreement = measurement.agreement
    assert agreement, "asked only of cases with level 1"
    notes = []
    if agreement.not_comparable:
        notes.append(f"not comparable at level 1: {agreement.not_comparable}")
    elif not agreement.gradients_seen:
        notes.append("gradients could not be seen at level 1")
    if agreement.reference != "float64" and not agreement.not_comparable:
        notes.append(f"level 1 is against {agreement.reference}: there is no comparable float64 build")
    if trained.case != measurement.case:
        alike = "its trainings are bit-identical" if measurement.curves else "their steps are equal up to rounding"
        notes.append(f"level 2 inherited from {trained.case.variant}: {alike}")
    return tuple(notes)


def judge_curves(mine: Sequence[Curve], reference: Sequence[Curve], settings: Verification) -> Equivalence:
    """The verdict of level 2 on all seeds that both have."""
    others = {curve.seed: curve for curve in reference}
    for curve in mine:
        if _diverged(curve) and not (curve.seed in others and _diverged(others[curve.seed])):
            return Equivalence(Verdict.DIFFERENT, (f"the loss {_where_diverged(curve)}",))
    for curve in reference:
        if _diverged(curve):
            return Equivalence(Verdict.INCONCLUSIVE, (f"the reference's own loss {_where_diverged(curve)}",))
    pairs = [(curve, others[curve.seed]) for curve in mine if curve.seed in others]
    pairs = [(one, other) for one, other in pairs if _accuracies(one) and _accuracies(other)]
    if len(pairs) < FIRST_LOOK:
        return Equivalence(
            Verdict.INCONCLUSIVE, (f"{len(pairs)} seeds are too few to judge: give at least {FIRST_LOOK}",)
        )
    loss_margin, accuracy_margin = margins([other for _, other in pairs], settings)
    error = ERROR / _looks(settings.seeds)
    judged = [
        _judge_differences(
            "final training loss", [final_loss(a) - final_loss(b) for a, b in pairs], loss_margin, error
        ),
        _judge_differences("test accuracy", [_accuracy(a) - _accuracy(b) for a, b in pairs], accuracy_margin, error),
    ]
    verdicts = {verdict for verdict, _ in judged}
    for verdict in (Verdict.DIFFERENT, Verdict.INCONCLUSIVE, Verdict.EQUIVALENT):
        if verdict in verdicts:
            return Equivalence(verdict, tuple(why for found, why in judged if found is verdict))
    raise AssertionError("one of the three verdicts was given")


def _diverged(curve: Curve) -> bool:
    return None in curve.losses


def _where_diverged(curve: Curve) -> str:
    return f"is NaN or infinite from step {len(curve.losses)} on (seed {curve.seed})"


def margins(reference: Sequence[Curve], settings: Verification) -> tuple[float, float]:
    """For the final loss and the test accuracy: as set, but no narrower than seeds spread in the reference itself."""
    losses = [final_loss(curve) for curve in reference]
    accuracies = [_accuracy(curve) for curve in reference]
    loss = max(settings.margin * statistics.fmean(losses), statistics.stdev(losses))
    return loss, max(ACCURACY_MARGIN, statistics.stdev(accuracies))


def final_loss(curve: Curve) -> float:
    """The mean loss over the last third of a training that stayed finite."""
    losses = [loss for loss in curve.losses if loss is not None]
    return statistics.fmean(losses[-final_steps(len(losses)) :])


def is_look(seeds_done: int, settings: Verification) -> bool:
    """Whether the sequence looks after so many seeds."""
    return seeds_done >= settings.seeds or (seeds_done >= FIRST_LOOK and (seeds_done - FIRST_LOOK) % LOOK_EVERY == 0)


def _looks(seeds: int) -> int:
    return 1 + max(0, math.ceil((seeds - FIRST_LOOK) / LOOK_EVERY))


def _accuracy(curve: Curve) -> float:
    """The mean accuracy over the evaluations of a training that stayed finite."""
    return statistics.fmean(_accuracies(curve))


def _accuracies(curve: Curve) -> list[float]:
    return [test.accuracy for test in curve.tests if test.accuracy is not None]


def _judge_differences(what: str, differences: Sequence[float], margin: float, error: float) -> tuple[Verdict, str]:
    """The verdict on one measure at one look, which may err with the chance ``error``."""

    def described(low: float, high: float) -> str:
        mean = statistics.fmean(differences)
        return f"{what} {mean:+.3f} [{low:+.3f}, {high:+.3f}], margin {margin:.3f}, {len(differences)} seeds"

    low, high = _bounds(differences, 1 - error / MEASURES)
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
    reach = t_quantile((1 + confidence) / 2, len(differences) - 1) * statistics.stdev(differences)
    return f"about {max(len(differences) + 1, math.ceil((reach / room) ** 2))} seeds would tell"
