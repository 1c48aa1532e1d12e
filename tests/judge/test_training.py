from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from builders import make_case
from chances import most

from stepbench.judge import statistics
from stepbench.judge import training as equivalence
from stepbench.judge.training import (
    ACCURACY_MARGIN,
    ERROR,
    FIRST_LOOK,
    Equivalence,
    Verdict,
    anchor_of,
    final_loss,
    is_look,
    judge_cases,
    judge_curves,
    margins,
    trains_for,
)
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Precision, Verification
from stepbench.records.run import Failure, FailureKind, Measurement
from stepbench.records.verify import Agreement, Curve, Point, TensorError
from stepbench.records.verify import Test as Evaluation

SETTINGS = Verification(seeds=8, margin=0.02)
LOSS = 1.0
MARGIN = SETTINGS.margin * LOSS
ACCURACY = 0.7
TRIALS = 150
"""So many as to find what errs much too often; ten times as many among the slow tests."""
FULL_SIZE = pytest.mark.parametrize("trials", [TRIALS, pytest.param(10 * TRIALS, marks=pytest.mark.slow)])
USERS = "users-own"

Curves = list[Curve]


@pytest.fixture(autouse=True)
def _quick_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of simulations ask for the same few."""
    monkeypatch.setattr(statistics, "t_quantile", functools.cache(statistics.t_quantile))


def make_curve(seed: int, loss: float, accuracy: float = ACCURACY) -> Curve:
    return Curve(seed, (2.3, 1.5, loss), (Evaluation(3, loss, accuracy),))


def make_nan_curve(seed: int, step: int) -> Curve:
    return Curve(seed, (*([2.0] * (step - 1)), None), ())


def simulated(
    generator: np.random.Generator,
    seeds: int,
    *,
    loss_difference: float = 0.0,
    accuracy_difference: float = 0.0,
    paired_sd: float = 0.0,
    seed_sd: float = 0.0,
) -> tuple[Curves, Curves]:
    """Paired trainings: what a seed does to both, and what sets them apart."""
    mine, reference = [], []
    for seed in range(seeds):
        loss, accuracy = LOSS + generator.normal(0, seed_sd), ACCURACY + generator.normal(0, seed_sd)
        reference.append(make_curve(seed, loss, accuracy))
        apart = generator.normal(loss_difference, paired_sd), generator.normal(accuracy_difference, paired_sd)
        mine.append(make_curve(seed, loss + apart[0], accuracy + apart[1]))
    return mine, reference


def followed(mine: Curves, reference: Curves, settings: Verification = SETTINGS) -> Verdict:
    """The verdict of the whole sequence: looking as seeds come in, until it is reached."""
    verdict = Verdict.INCONCLUSIVE
    for done in range(1, settings.seeds + 1):
        if is_look(done, settings):
            verdict = judge_curves(mine[:done], reference[:done], settings).verdict
            if verdict is not Verdict.INCONCLUSIVE:
                break
    return verdict


def verdicts(truth: Mapping[str, float], settings: Verification = SETTINGS, trials: int = TRIALS) -> Counter[Verdict]:
    generator = np.random.default_rng(20)
    return Counter(followed(*simulated(generator, settings.seeds, **truth), settings) for _ in range(trials))


@FULL_SIZE
@pytest.mark.parametrize("paired_sd", [0.1 * MARGIN, 0.3 * MARGIN, MARGIN])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("what", ["loss_difference", "accuracy_difference"])
def test_what_differs_by_the_margin_is_hardly_ever_called_equivalent(
    what: str, sign: int, paired_sd: float, trials: int
) -> None:
    margin = MARGIN if what == "loss_difference" else ACCURACY_MARGIN
    found = verdicts({"paired_sd": paired_sd, what: sign * margin}, trials=trials)
    assert found[Verdict.EQUIVALENT] <= most(ERROR, trials)


@FULL_SIZE
def test_the_margin_that_counts_is_the_one_stated_also_where_it_is_the_seeds_spread(trials: int) -> None:
    settings = Verification(seeds=FIRST_LOOK, margin=0.02)
    generator = np.random.default_rng(33)
    equivalent = 0
    for _ in range(trials):
        mine, reference = simulated(generator, settings.seeds, paired_sd=0.5 * MARGIN, seed_sd=5 * MARGIN)
        margin, _ = margins(reference, settings)
        moved = [make_curve(curve.seed, final_loss(curve) + margin, ACCURACY) for curve in mine]
        even = [make_curve(curve.seed, final_loss(curve), ACCURACY) for curve in reference]
        equivalent += judge_curves(moved, even, settings).verdict is Verdict.EQUIVALENT
    assert equivalent <= most(ERROR, trials)


@FULL_SIZE
@pytest.mark.parametrize("paired_sd", [0.3 * MARGIN, MARGIN, 10 * MARGIN, 1000 * MARGIN])
@pytest.mark.parametrize("seed_sd", [0.0, 5 * MARGIN])
def test_what_does_not_differ_is_hardly_ever_called_different(seed_sd: float, paired_sd: float, trials: int) -> None:
    assert verdicts({"paired_sd": paired_sd, "seed_sd": seed_sd}, trials=trials)[Verdict.DIFFERENT] <= most(
        ERROR, trials
    )


@FULL_SIZE
def test_what_differs_by_no_more_than_the_margin_is_hardly_ever_called_different(trials: int) -> None:
    found = verdicts(
        {"paired_sd": 0.3 * MARGIN, "loss_difference": MARGIN, "accuracy_difference": -ACCURACY_MARGIN}, trials=trials
    )
    assert found[Verdict.DIFFERENT] <= most(ERROR, trials)


def test_equal_trainings_are_found_equivalent() -> None:
    assert verdicts({"paired_sd": 0.2 * MARGIN}, trials=TRIALS)[Verdict.EQUIVALENT] > 0.98 * TRIALS


def test_seeds_that_spread_far_do_not_hide_that_pairs_are_equal() -> None:
    assert (
        verdicts({"paired_sd": 0.2 * MARGIN, "seed_sd": 20 * MARGIN}, trials=TRIALS)[Verdict.EQUIVALENT] > 0.98 * TRIALS
    )


@pytest.mark.parametrize("what", ["loss_difference", "accuracy_difference"])
def test_a_difference_of_three_margins_is_found(what: str) -> None:
    found = verdicts({"paired_sd": 0.2 * MARGIN, what: -3 * MARGIN}, trials=TRIALS)
    assert found[Verdict.DIFFERENT] > 0.98 * TRIALS


def test_looking_often_without_paying_for_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Verification(seeds=40, margin=0.02)
    truth = {"paired_sd": 0.3 * MARGIN, "loss_difference": MARGIN}
    assert verdicts(truth, settings, 500)[Verdict.EQUIVALENT] <= most(ERROR, 500)
    monkeypatch.setattr(equivalence, "_looks", lambda _: 1)
    assert verdicts(truth, settings, 500)[Verdict.EQUIVALENT] > most(ERROR, 500)


def test_taking_differences_of_other_seeds_would_be_noticed() -> None:
    generator = np.random.default_rng(21)
    paired, unpaired = Counter[Verdict](), Counter[Verdict]()
    for _ in range(200):
        mine, reference = simulated(generator, SETTINGS.seeds, paired_sd=0.2 * MARGIN, seed_sd=2 * MARGIN)
        paired[followed(mine, reference)] += 1
        moved = [msgspec.structs.replace(curve, seed=(curve.seed + 1) % SETTINGS.seeds) for curve in mine]
        by_seed = sorted(moved, key=lambda curve: curve.seed)
        unpaired[followed(by_seed, reference)] += 1
    assert paired[Verdict.EQUIVALENT] > 190
    assert unpaired[Verdict.EQUIVALENT] < 100


def test_pairs_are_made_by_seed_and_not_by_order() -> None:
    mine, reference = simulated(np.random.default_rng(22), 8, paired_sd=0.1 * MARGIN, seed_sd=20 * MARGIN)
    assert judge_curves(mine[::-1], reference, SETTINGS) == judge_curves(mine, reference[::-1], SETTINGS)
    assert judge_curves(mine[::-1], reference, SETTINGS).verdict is Verdict.EQUIVALENT


def test_seeds_that_only_one_has_do_not_count() -> None:
    mine, reference = simulated(np.random.default_rng(23), 8)
    judged = judge_curves(mine[:5], reference[2:], SETTINGS)
    assert judged == Equivalence(Verdict.INCONCLUSIVE, ("3 seeds are too few to judge: give at least 4",))


def test_differences_without_any_spread_are_judged() -> None:
    mine, reference = simulated(np.random.default_rng(24), 4)
    assert judge_curves(mine, reference, SETTINGS).verdict is Verdict.EQUIVALENT
    shifted = [make_curve(curve.seed, LOSS + 0.5) for curve in mine]
    assert judge_curves(shifted, reference, SETTINGS).verdict is Verdict.DIFFERENT


def test_equivalent_states_the_difference_its_interval_the_margin_and_the_seeds() -> None:
    mine, reference = simulated(np.random.default_rng(24), 4)
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.why == (
        "final training loss +0.000 [+0.000, +0.000], margin 0.020, 4 seeds",
        "test accuracy +0.000 [+0.000, +0.000], margin 0.020, 4 seeds",
    )


def test_different_gives_the_measure_that_differs_and_not_the_other() -> None:
    mine, reference = simulated(np.random.default_rng(25), 8, accuracy_difference=-0.2, paired_sd=0.1 * MARGIN)
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.verdict is Verdict.DIFFERENT
    (why,) = judged.why
    assert why.startswith("test accuracy -0.2")


def test_inconclusive_says_how_many_seeds_would_tell_and_they_do() -> None:
    generator = np.random.default_rng(26)
    mine, reference = simulated(generator, 4, paired_sd=MARGIN)
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.verdict is Verdict.INCONCLUSIVE
    needed = max(int(why.rpartition("about ")[2].split()[0]) for why in judged.why)
    assert needed > 4
    many = Verification(seeds=4 * needed, margin=SETTINGS.margin)
    assert verdicts({"paired_sd": MARGIN}, many, 100)[Verdict.EQUIVALENT] > 90


def test_inconclusive_at_the_margin_itself_promises_nothing() -> None:
    _, reference = simulated(np.random.default_rng(27), 8)
    mine = [make_curve(seed, LOSS + (1.2 + (-1) ** seed) * MARGIN) for seed in range(8)]
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "more seeds will hardly help" in judged.why[0]


@pytest.mark.parametrize("seeds", [0, 1, FIRST_LOOK - 1])
def test_too_few_seeds_are_inconclusive(seeds: int) -> None:
    mine, reference = simulated(np.random.default_rng(28), seeds)
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.why == (f"{seeds} seeds are too few to judge: give at least {FIRST_LOOK}",)


def test_a_nan_midway_is_different_and_names_the_step_and_the_seed() -> None:
    mine, reference = simulated(np.random.default_rng(29), 3)
    mine[2] = make_nan_curve(seed=2, step=57)
    assert judge_curves(mine, reference, SETTINGS) == Equivalence(
        Verdict.DIFFERENT, ("the loss is NaN or infinite from step 57 on (seed 2)",)
    )


def test_a_nan_of_the_reference_itself_is_held_against_nobody() -> None:
    mine, reference = simulated(np.random.default_rng(30), 8)
    reference[5] = make_nan_curve(seed=5, step=9)
    wanted = Equivalence(Verdict.INCONCLUSIVE, ("the reference's own loss is NaN or infinite from step 9 on (seed 5)",))
    assert judge_curves(mine, reference, SETTINGS) == wanted
    mine[5] = make_nan_curve(seed=5, step=9)
    assert judge_curves(mine, reference, SETTINGS) == wanted
    mine[4] = make_nan_curve(seed=4, step=9)
    assert judge_curves(mine, reference, SETTINGS).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize("seed_sd", [0.001, 0.05, 0.5])
def test_margins_are_as_set_but_never_below_the_spread_of_seeds(seed_sd: float) -> None:
    generator = np.random.default_rng(31)
    for _ in range(50):
        _, reference = simulated(generator, 6, seed_sd=seed_sd)
        loss_margin, accuracy_margin = margins(reference, SETTINGS)
        losses = [final_loss(curve) for curve in reference]
        mean = sum(losses) / 6
        spread = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 5)
        assert loss_margin == pytest.approx(max(SETTINGS.margin * mean, spread))
        assert loss_margin >= spread * (1 - 1e-9)
        assert accuracy_margin >= ACCURACY_MARGIN


def test_a_wider_margin_is_taken_as_set() -> None:
    _, reference = simulated(np.random.default_rng(32), 4)
    assert margins(reference, Verification(margin=0.3)) == pytest.approx((0.3 * LOSS, ACCURACY_MARGIN))


def test_the_final_loss_is_the_mean_of_the_last_third() -> None:
    assert final_loss(Curve(0, (9.0, 9.0, 9.0, 9.0, 1.0, 3.0), ())) == 2.0
    assert final_loss(Curve(0, (9.0, 9.0, 2.0, 4.0), ())) == 3.0
    assert final_loss(Curve(0, (7.0,), ())) == 7.0


def test_the_accuracy_is_the_mean_over_the_evaluations() -> None:
    """One of them alone lies beyond the margin, their mean does not."""
    reference = [make_curve(seed, LOSS) for seed in range(8)]
    tests = [Evaluation(step, LOSS, ACCURACY + off) for step, off in ((1, 0.05), (2, -0.03), (3, -0.02))]
    mine = [Curve(seed, (2.3, 1.5, LOSS), tuple(tests)) for seed in range(8)]
    assert judge_curves(mine, reference, Verification()).verdict is Verdict.EQUIVALENT
    assert (
        judge_curves(
            [Curve(seed, (2.3, 1.5, LOSS), tuple(tests[:1])) for seed in range(8)], reference, Verification()
        ).verdict
        is Verdict.DIFFERENT
    )


@pytest.mark.parametrize("seeds", [0, 1, 4, 5, 8, 9, 40])
def test_the_error_is_shared_among_as_many_looks_as_there_are(seeds: int) -> None:
    settings = Verification(seeds=seeds)
    looks = [done for done in range(1, seeds + 1) if is_look(done, settings) and done >= FIRST_LOOK]
    assert equivalence._looks(seeds) == max(1, len(looks))
    assert not looks or looks[-1] == seeds
    assert all(later > sooner for sooner, later in pairwise(looks))


# From here on: whose trainings speak for whom.


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


def test_the_reference_is_equivalent_to_itself() -> None:
    reference = trained(EAGER)
    assert judged([reference], reference) == Equivalence(Verdict.EQUIVALENT, ("it is the reference",))


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


def test_a_users_training_that_differs_in_the_last_bit_is_its_own() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    losses = (*anchor.curves[0].losses[:-1], math.nextafter(LOSS, 2))
    users = msgspec.structs.replace(trained(USERS), curves=(msgspec.structs.replace(anchor.curves[0], losses=losses),))
    assert trains_for(users, by_case([anchor, users])) == users


def test_nothing_inherits_from_a_users_execution() -> None:
    users, xla = trained(USERS, "mixed_bfloat16", loss=LOSS), trained(XLA, "mixed_bfloat16")
    assert trains_for(xla, by_case([trained(GRAPH), users, xla])) == xla


def test_a_failed_level_1_is_different_and_never_trains() -> None:
    anchor = trained(GRAPH, loss=LOSS)
    wrong = trained(XLA, loss=LOSS, agreement=make_agreement(wrong=True))
    assert trains_for(wrong, by_case([anchor, wrong])) is None
    found = judged([anchor, wrong], wrong)
    assert found.verdict is Verdict.DIFFERENT
    assert found.why[0].endswith("dense/kernel is 1.020× as long as it should be at all points")


def test_nothing_inherits_from_a_step_that_failed_level_1() -> None:
    wrong = trained(GRAPH, "mixed_bfloat16", agreement=make_agreement(wrong=True, step_s=1e-6))
    xla = trained(XLA, "mixed_bfloat16")
    assert trains_for(xla, by_case([trained(GRAPH), wrong, xla])) == xla


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


def test_what_was_never_verified_is_not_checked() -> None:
    bare = Measurement(make_case(GRAPH))
    assert judged([bare], bare) == Equivalence(Verdict.NOT_CHECKED, ())


def test_a_float32_reference_is_said() -> None:
    anchor = trained(GRAPH, agreement=make_agreement(reference="float32"))
    assert judged([anchor], anchor).why[-1].startswith("level 1 is against float32")


@pytest.mark.parametrize("precision", [Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16])
def test_a_mixed_precision_is_judged_by_its_trainings(precision: Precision) -> None:
    anchor = trained(GRAPH, loss=LOSS)
    near, far = (trained(GRAPH, precision, loss=loss) for loss in (LOSS + 1e-4, LOSS + 10 * MARGIN))
    assert judged([anchor, near], near).verdict is Verdict.EQUIVALENT
    assert judged([anchor, far], far).verdict is Verdict.DIFFERENT
