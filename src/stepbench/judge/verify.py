"""The verdict on each case's convergence, from one step and from whole trainings; and who trains for whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stepbench.judge.one_step import agrees, complaints, complaints_of
from stepbench.judge.training import Equivalence, Verdict, judge_curves
from stepbench.records.cases import DEFAULT_EXECUTIONS, GRAPH, Case, Precision, Variant, Verification
from stepbench.records.run import Measurement


def judge_cases(measurements: Sequence[Measurement], settings: Verification) -> dict[Case, Equivalence]:
    """The verdict of every case."""
    by_case = {measurement.case: measurement for measurement in measurements}
    return {case: _judge_case(by_case[case], by_case, settings) for case in by_case}


def anchor_of(case: Case, by_case: Mapping[Case, Measurement]) -> Measurement | None:
    """The measurement whose trainings stand for the reference's: graph/float32, another float32 twin of it, or itself.

    Eager steps are several times slower; level 1 shows that the anchor's step is the reference's up to rounding.
    """
    candidates = [
        measurement
        for measurement in by_case.values()
        if measurement.case.group == case.group
        and measurement.case.variant.precision is Precision.FLOAT32
        and measurement.case.variant.execution in DEFAULT_EXECUTIONS
        and not measurement.case.settings
        and measurement.agreement
        and (not complaints(measurement.agreement) or measurement.case == case.reference)
    ]
    # The reference stands for itself, where no other is shown to take its step.
    return min(
        candidates,
        key=lambda found: (
            not agrees(found.agreement),
            not agrees(found.agreement) and found.case != case.reference,
            not _is_anchor_kind(found.case),
            _step_s(found),
        ),
        default=None,
    )


def trains_for(measurement: Measurement, by_case: Mapping[Case, Measurement]) -> Measurement | None:
    """The measurement whose trainings speak for this one: itself, or another that differs by rounding only.

    Built-in executions are one step wrapped in different ways, so where level 1 finds that two of the same precision
    both agree, the faster one trains for both. Any other step trains itself, as it may hide a state that level 1
    cannot set, and so does one with settings, as threads may change the order of a sum now and then; it is spared the
    rest once a whole training is bit-identical to a built-in one's. None when level 1 found it different.
    """
    is_reference = measurement.case == measurement.case.reference
    if measurement.agreement is None or (complaints(measurement.agreement) and not is_reference):
        return None
    twins = [other for other in by_case.values() if _is_twin(measurement, other)]
    # The anchor, which trains in any case, speaks for all of float32.
    return min(twins, key=lambda twin: (not _is_anchor_kind(twin.case), _step_s(twin)), default=measurement)


def _is_twin(measurement: Measurement, other: Measurement) -> bool:
    mine, theirs = measurement.case, other.case
    if mine.group != theirs.group or mine.variant.precision != theirs.variant.precision:
        return False
    is_usual = theirs.variant.execution in DEFAULT_EXECUTIONS and not theirs.settings
    if theirs.steps_per_call > 1 or not is_usual or not agrees(other.agreement):
        return False
    if mine.variant.execution in DEFAULT_EXECUTIONS and not mine.settings:
        return agrees(measurement.agreement)
    others = {curve.seed: curve.losses for curve in other.curves}
    return bool(measurement.curves) and all(
        others.get(curve.seed) == curve.losses and not curve.faults and not complaints_of(curve.points)
        for curve in measurement.curves
    )


def _is_anchor_kind(case: Case) -> bool:
    return case.variant == Variant(GRAPH, Precision.FLOAT32) and not case.settings


def _step_s(measurement: Measurement) -> float:
    return measurement.agreement.step_s if measurement.agreement else math.inf


def _judge_case(measurement: Measurement, by_case: Mapping[Case, Measurement], settings: Verification) -> Equivalence:
    if measurement.agreement is None:
        failure = measurement.verification_failure
        return Equivalence(why=(f"{failure.kind}: {failure.message}",) if failure else ())
    wrong = complaints(measurement.agreement)
    if measurement.case == measurement.case.reference:  # Never different from itself.
        return Equivalence(Verdict.EQUIVALENT, ("it is the reference", *(f"against float64: {one}" for one in wrong)))
    if wrong:
        return Equivalence(Verdict.DIFFERENT, wrong)
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
        why = agreement.remark or "there is no comparable float64 build"
        notes.append(f"level 1 is against {agreement.reference}: {why}")
    is_single = trained.case.steps_per_call == 1  # Within a call of several there is nothing to be looked at.
    if is_single and trained.curves and all(curve.initial and not curve.audited for curve in trained.curves):
        notes.append("no optimizer makes its updates, so they were not audited as it trained")
    if lost := next((curve.not_recomputed for curve in trained.curves if curve.not_recomputed), ""):
        notes.append(f"its steps could not be recomputed as it trained: {lost}")
    begun = {curve.initial for curve in trained.curves if curve.initial}
    if len(begun) == 1 and len(trained.curves) > 1:
        notes.append("its weights begin alike whatever the seed, so seeds differ in the order of the data alone")
    if trained.case != measurement.case:
        alike = "its trainings are bit-identical" if measurement.curves else "their steps are equal up to rounding"
        notes.append(f"level 2 inherited from {trained.case.variant}: {alike}")
    return tuple(notes)
