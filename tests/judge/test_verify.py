"""The verdict on each case: who trains for whom, who is held against whom, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from builders import make_case

from stepbench.judge.training import Equivalence, Verdict
from stepbench.judge.verify import anchor_of, judge_cases, trains_for
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Precision, Verification
from stepbench.records.run import Failure, FailureKind, Measurement
from stepbench.records.settings import Setting
from stepbench.records.verify import Agreement, Curve, Fault, Point, TensorError
from stepbench.records.verify import Test as Evaluation

SETTINGS = Verification(seeds=8, margin=0.02)
LOSS = 1.0
MARGIN = SETTINGS.margin * LOSS
USERS = "users-own"


def make_curve(seed: int, loss: float) -> Curve:
    return Curve(seed, (2.3, 1.5, loss), (Evaluation(3, loss, figures={"accuracy": 0.7}),))


def make_agreement(*, wrong: bool = False, step_s: float = 0.01, **changes: Any) -> Agreement:
    error = TensorError("dense/kernel", 0.02 if wrong else 1e-7, math.log(1.02) if wrong else 1e-8, 1e-7)
    loss = TensorError("loss", 1e-7, 1e-8, 1e-7)
    points = tuple(Point(step, loss, (error,), (error,), (), (), 0, f"digest {step}") for step in (0, 1, 3, 10))
    agreement = Agreement("float64", None, gradients_seen=True, step_s=step_s, points=points)
    return msgspec.structs.replace(agreement, **changes)


def trained(
    execution: str, precision: str = "float32", *, loss: float | None = None, agreement: Agreement | None = None
) -> Measurement:
    """A case with level 1, innocent unless given, and with trainings to that loss, if any."""
    curves = () if loss is None else tuple(make_curve(seed, loss + seed * 1e-3) for seed in range(8))
    return Measurement(make_case(execution, precision), agreement=agreement or make_agreement(), curves=curves)


def by_case(measurements: Iterable[Measurement]) -> dict[Case, Measurement]:
    return {measurement.case: measurement for measurement in measurements}


def judged(measurements: Sequence[Measurement], wanted: Measurement) -> Equivalence:
    return judge_cases(measurements, SETTINGS)[wanted.case]


def test_the_reference_is_equivalent_to_itself_and_what_was_never_verified_is_not_checked() -> None:
    reference = trained(EAGER)
    assert judged([reference], reference) == Equivalence(Verdict.EQUIVALENT, ("it is the reference",))
    bare = Measurement(make_case(GRAPH))
    assert judged([bare], bare) == Equivalence(Verdict.NOT_CHECKED, ())


def test_graph_float32_is_the_anchor_even_where_xla_is_faster() -> None:
    graph, xla = trained(GRAPH), trained(XLA, agreement=make_agreement(step_s=0.001))
    measurements = by_case([trained(EAGER), xla, graph])
    assert {found.case: anchor_of(found.case, measurements) for found in measurements.values()} == dict.fromkeys(
        measurements, graph
    )


def test_the_fastest_float32_twin_is_the_anchor_where_there_is_no_sound_graph() -> None:
    graph = trained(GRAPH, agreement=make_agreement(wrong=True))
    xla = trained(XLA, agreement=make_agreement(step_s=0.001))
    measurements = by_case([trained(EAGER), graph, xla])
    assert anchor_of(graph.case, measurements) == xla


def test_neither_keras_nor_a_users_step_nor_another_group_is_the_anchor() -> None:
    other = msgspec.structs.replace(trained(GRAPH), case=make_case(GRAPH, batch_size=32))
    wanted = trained(XLA, "mixed_bfloat16", loss=LOSS)
    measurements = [trained(KERAS), trained(USERS), other, wanted]
    assert anchor_of(wanted.case, by_case(measurements)) is None
    assert judged(measurements, wanted) == Equivalence(
        Verdict.NOT_CHECKED, ("no float32 variant to train against: add graph/float32",)
    )


@pytest.mark.parametrize("execution", [EAGER, XLA])
def test_executions_inherit_the_trainings_of_graph_at_the_same_precision(execution: str) -> None:
    anchor = trained(GRAPH, loss=LOSS)
    graph = trained(GRAPH, "mixed_bfloat16", loss=LOSS + 10 * MARGIN)
    heir = trained(execution, "mixed_bfloat16", agreement=make_agreement(step_s=0.1))
    other = trained(execution, "mixed_float16", loss=LOSS, agreement=make_agreement(step_s=0.1))
    measurements = [anchor, graph, heir, other]
    assert trains_for(heir, by_case(measurements)) == graph
    assert trains_for(other, by_case(measurements)) == other
    found = judged(measurements, heir)
    assert found.verdict is Verdict.DIFFERENT
    assert found.why[-1] == ("level 2 inherited from graph/mixed_bfloat16: their steps are equal up to rounding")
    assert judged(measurements, other).verdict is Verdict.EQUIVALENT


def test_what_inherits_from_the_anchor_needs_no_trainings() -> None:
    anchor, heir = trained(GRAPH), trained(XLA)
    found = judged([anchor, heir], heir)
    assert found.verdict is Verdict.EQUIVALENT
    assert found.why[0] == "its step is the reference's up to rounding"
    assert found.why[1].startswith("level 2 inherited from graph/float32")


@pytest.mark.parametrize("changes", [{"not_comparable": "its random layers draw others"}, {"gradients_seen": False}])
def test_what_level_1_cannot_compare_trains_itself(changes: dict[str, Any]) -> None:
    anchor = trained(GRAPH, loss=LOSS)
    own = trained(XLA, loss=LOSS, agreement=make_agreement(**changes))
    measurements = [anchor, own]
    assert trains_for(own, by_case(measurements)) == own
    found = judged(measurements, own)
    assert found.verdict is Verdict.EQUIVALENT
    assert "level 1" in found.why[-1]
    # Nor does anything inherit from it.
    eager = trained(EAGER, "mixed_bfloat16")
    blind = trained(GRAPH, "mixed_bfloat16", agreement=make_agreement(**changes))
    assert trains_for(eager, by_case([anchor, blind, eager])) == eager


def test_several_steps_a_call_inherit_and_are_inherited_from_by_none() -> None:
    several = Measurement(make_case(GRAPH, "mixed_bfloat16", steps_per_call=8), agreement=make_agreement(step_s=1e-6))
    one = trained(GRAPH, "mixed_bfloat16")
    measurements = by_case([trained(GRAPH), several, one])
    assert trains_for(several, measurements) == one
    assert trains_for(one, measurements) == one


def test_a_users_execution_never_inherits_before_its_own_training() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    users = trained(USERS)
    assert trains_for(users, by_case([anchor, users])) == users
    assert judged([anchor, users], users).verdict is Verdict.INCONCLUSIVE


def test_a_users_bit_identical_training_is_recognised_after_one_seed() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    users = msgspec.structs.replace(trained(USERS), curves=anchor.curves[:1])
    assert trains_for(users, by_case([anchor, users])) == anchor
    assert judged([anchor, users], users) == Equivalence(
        Verdict.EQUIVALENT,
        (
            "its step is the reference's up to rounding",
            "level 2 inherited from graph/float32: its trainings are bit-identical",
        ),
    )


def test_a_case_with_settings_inherits_once_a_training_is_bit_identical() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    threaded = msgspec.structs.replace(anchor.case, settings=(Setting("intra_threads", "1"),))
    untrained = Measurement(threaded, agreement=anchor.agreement)
    assert trains_for(untrained, by_case([anchor, untrained])) == untrained
    alike = msgspec.structs.replace(untrained, curves=anchor.curves[:1])
    assert trains_for(alike, by_case([anchor, alike])) == anchor
    assert anchor_of(threaded, by_case([untrained])) is None, "others are held against nothing with settings"


def test_a_users_training_in_which_the_audit_saw_a_fault_is_its_own_even_if_its_losses_are_the_anchors() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    curve = msgspec.structs.replace(anchor.curves[0], faults=(Fault(2, "update of dense/kernel is off"),))
    users = msgspec.structs.replace(trained(USERS), curves=(curve,))
    assert trains_for(users, by_case([anchor, users])) == users
    assert judged([anchor, users], users).verdict is Verdict.DIFFERENT


def test_a_users_training_that_differs_in_the_last_bit_is_its_own() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    losses = (*anchor.curves[0].losses[:-1], math.nextafter(LOSS, 2))
    users = msgspec.structs.replace(trained(USERS), curves=(msgspec.structs.replace(anchor.curves[0], losses=losses),))
    assert trains_for(users, by_case([anchor, users])) == users


def test_nothing_inherits_from_a_users_execution_or_from_a_step_that_failed_level_1() -> None:
    users, xla = trained(USERS, "mixed_bfloat16", loss=LOSS), trained(XLA, "mixed_bfloat16")
    assert trains_for(xla, by_case([trained(GRAPH), users, xla])) == xla
    wrong = trained(GRAPH, "mixed_bfloat16", agreement=make_agreement(wrong=True, step_s=1e-6))
    xla = trained(XLA, "mixed_bfloat16")
    assert trains_for(xla, by_case([trained(GRAPH), wrong, xla])) == xla


def test_a_failed_level_1_is_different_and_never_trains() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    wrong = trained(XLA, loss=LOSS, agreement=make_agreement(wrong=True))
    assert trains_for(wrong, by_case([anchor, wrong])) is None
    found = judged([anchor, wrong], wrong)
    assert found.verdict is Verdict.DIFFERENT
    assert found.why[0].endswith("dense/kernel is 1.020× as long as it should be at all points")


def test_a_variant_that_broke_in_its_verification_is_not_checked_with_the_reason() -> None:
    failure = Failure(FailureKind.CRASH, "The worker was ended by signal 6.")
    in_level_1 = Measurement(make_case(XLA), verification_failure=failure)
    in_level_2 = msgspec.structs.replace(trained(USERS), verification_failure=failure)
    anchor = trained(GRAPH, loss=LOSS)
    for broken in (in_level_1, in_level_2):
        found = judged([anchor, broken], broken)
        assert found == Equivalence(Verdict.NOT_CHECKED, ("crash: The worker was ended by signal 6.",))
    assert judged([anchor, in_level_1], anchor).verdict is Verdict.EQUIVALENT


def test_where_the_anchor_broke_while_it_trained_nothing_is_judged_against_it() -> None:
    failure = Failure(FailureKind.TIMEOUT, "The training took too long.")
    anchor = msgspec.structs.replace(trained(GRAPH), verification_failure=failure)
    users = trained(USERS, loss=LOSS)
    found = judged([anchor, users], users)
    assert found == Equivalence(Verdict.NOT_CHECKED, ("timeout: The training took too long.",))


def test_what_the_reference_is_is_said_where_it_is_not_float64() -> None:
    anchor = trained(GRAPH, agreement=make_agreement(reference="float32"))
    assert judged([anchor], anchor).why[-1].startswith("level 1 is against float32")
    agreement = make_agreement(reference="mixed_bfloat16", remark="the step draws other random numbers in float64")
    anchor = trained(GRAPH, loss=LOSS)
    half = trained(GRAPH, "mixed_bfloat16", loss=LOSS, agreement=agreement)
    assert judged([anchor, half], half).why[-1] == (
        "level 1 is against mixed_bfloat16: the step draws other random numbers in float64"
    )


def test_a_mixed_precision_is_judged_by_its_trainings() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    near, far = (trained(GRAPH, Precision.MIXED_BFLOAT16, loss=loss) for loss in (LOSS + 1e-4, LOSS + 10 * MARGIN))
    assert judged([anchor, near], near).verdict is Verdict.EQUIVALENT
    assert judged([anchor, far], far).verdict is Verdict.DIFFERENT


def test_a_reference_that_differs_from_float64_is_never_different_from_itself_and_says_what_was_seen() -> None:
    reference = trained(EAGER, agreement=make_agreement(wrong=True))
    found = judged([reference], reference)
    assert found.verdict is Verdict.EQUIVALENT
    assert found.why == (
        "it is the reference",
        "against float64: update of dense/kernel is 1.020× as long as it should be at all points",
        "against float64: gradient of dense/kernel is 1.020× as long as it should be at all points",
    )


@pytest.mark.parametrize("changes", [{"not_comparable": "no seed reaches it"}, {"gradients_seen": False}])
def test_where_no_float32_step_agrees_the_reference_itself_is_the_anchor(changes: dict[str, Any]) -> None:
    agreement = make_agreement(**changes)
    reference, graph, half = (
        trained(execution, precision, loss=LOSS, agreement=agreement)
        for execution, precision in ((EAGER, "float32"), (GRAPH, "float32"), (GRAPH, "mixed_bfloat16"))
    )
    measurements = by_case([graph, half, reference])
    assert [anchor_of(case, measurements) for case in measurements] == [reference] * 3
    assert [trains_for(found, measurements) for found in measurements.values()] == [graph, half, reference]
    assert {judged([reference, graph, half], found).verdict for found in (reference, graph, half)} == {
        Verdict.EQUIVALENT
    }


def test_a_case_that_is_not_comparable_and_trains_elsewhere_is_different() -> None:
    agreement = make_agreement(not_comparable="no seed reaches it")
    reference = trained(EAGER, loss=LOSS, agreement=agreement)
    far = trained(XLA, loss=LOSS + 10 * MARGIN, agreement=agreement)
    assert judged([reference, far], far).verdict is Verdict.DIFFERENT


def test_a_fault_of_the_audit_is_the_cases_own_unless_the_anchor_has_it_too() -> None:
    anchor, users = trained(GRAPH, loss=LOSS), trained(USERS, loss=LOSS + 1e-9)
    innocent = judged([anchor, users], users)
    assert innocent.verdict is Verdict.EQUIVALENT
    fault = Fault(49, "update of dense/kernel is not what the optimizer makes of its gradient")

    def faulty(measurement: Measurement) -> Measurement:
        first = msgspec.structs.replace(measurement.curves[0], faults=(fault,))
        return msgspec.structs.replace(measurement, curves=(first, *measurement.curves[1:]))

    found = judged([anchor, faulty(users)], users)
    assert found == Equivalence(Verdict.DIFFERENT, (f"{fault.what} in step 50 (seed 0)",))
    assert judged([faulty(anchor), faulty(users)], users) == innocent
