from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from chances import most

from stepbench.judge import statistics
from stepbench.judge import training as equivalence
from stepbench.judge.training import (
    ERROR,
    FIRST_LOOK,
    MOST_FAULTS,
    Equivalence,
    Verdict,
    final_loss,
    is_look,
    judge_curves,
    margin_of,
)
from stepbench.records.cases import Verification
from stepbench.records.verify import Curve, Fault, Point, TensorError
from stepbench.records.verify import Test as Evaluation

SETTINGS = Verification(seeds=8, margin=0.02)
LOSS = 1.0
MARGIN = SETTINGS.margin * LOSS
ACCURACY = 0.7
ACCURACY_MARGIN = SETTINGS.margin * ACCURACY
TRIALS = 150
"""So many as to find what errs much too often; ten times as many among the slow tests."""
FULL_SIZE = pytest.mark.parametrize("trials", [TRIALS, pytest.param(10 * TRIALS, marks=pytest.mark.slow)])

Curves = list[Curve]


@pytest.fixture(autouse=True)
def _quick_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of simulations ask for the same few."""
    monkeypatch.setattr(statistics, "t_quantile", functools.cache(statistics.t_quantile))


def make_curve(seed: int, loss: float, accuracy: float = ACCURACY) -> Curve:
    return Curve(seed, (2.3, 1.5, loss), (Evaluation(3, loss, figures={"accuracy": accuracy}),))


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
@pytest.mark.parametrize(("what", "sign"), [("loss_difference", 1), ("accuracy_difference", -1)])
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
        margin = margin_of([final_loss(curve) for curve in reference], settings)
        moved = [make_curve(curve.seed, final_loss(curve) + margin, ACCURACY) for curve in mine]
        even = [make_curve(curve.seed, final_loss(curve), ACCURACY) for curve in reference]
        equivalent += judge_curves(moved, even, settings).verdict is Verdict.EQUIVALENT
    assert equivalent <= most(ERROR, trials)


@FULL_SIZE
@pytest.mark.parametrize(
    ("paired_sd", "seed_sd"),
    [(0.3 * MARGIN, 5 * MARGIN), (MARGIN, 0.0), (10 * MARGIN, 5 * MARGIN), (1000 * MARGIN, 0.0)],
)
def test_what_does_not_differ_is_hardly_ever_called_different(seed_sd: float, paired_sd: float, trials: int) -> None:
    found = verdicts({"paired_sd": paired_sd, "seed_sd": seed_sd}, trials=trials)
    assert found[Verdict.DIFFERENT] <= most(ERROR, trials)


@FULL_SIZE
def test_what_differs_by_no_more_than_the_margin_is_hardly_ever_called_different(trials: int) -> None:
    found = verdicts(
        {"paired_sd": 0.3 * MARGIN, "loss_difference": MARGIN, "accuracy_difference": -ACCURACY_MARGIN}, trials=trials
    )
    assert found[Verdict.DIFFERENT] <= most(ERROR, trials)


def test_equal_trainings_are_found_equivalent_however_far_seeds_spread() -> None:
    for spread in (0.0, 20 * MARGIN):
        found = verdicts({"paired_sd": 0.2 * MARGIN, "seed_sd": spread})
        assert found[Verdict.EQUIVALENT] > 0.98 * TRIALS


@pytest.mark.parametrize("what", ["loss_difference", "accuracy_difference"])
def test_a_difference_of_three_margins_is_found(what: str) -> None:
    found = verdicts({"paired_sd": 0.2 * MARGIN, what: -3 * MARGIN}, trials=TRIALS)
    assert found[Verdict.DIFFERENT] > 0.98 * TRIALS


def test_looking_often_without_paying_for_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Verification(seeds=40, margin=0.02)
    truth = {"paired_sd": 0.3 * MARGIN, "loss_difference": MARGIN}
    assert verdicts(truth, settings)[Verdict.EQUIVALENT] <= most(ERROR, TRIALS)
    monkeypatch.setattr(equivalence, "_looks", lambda _: 1)
    assert verdicts(truth, settings)[Verdict.EQUIVALENT] > most(ERROR, TRIALS)


def test_pairs_are_made_by_seed_and_not_by_order() -> None:
    mine, reference = simulated(np.random.default_rng(22), 8, paired_sd=0.1 * MARGIN, seed_sd=20 * MARGIN)
    assert judge_curves(mine[::-1], reference, SETTINGS) == judge_curves(mine, reference[::-1], SETTINGS)
    assert judge_curves(mine[::-1], reference, SETTINGS).verdict is Verdict.EQUIVALENT


def test_seeds_that_only_one_has_do_not_count() -> None:
    mine, reference = simulated(np.random.default_rng(23), 8)
    judged = judge_curves(mine[:5], reference[2:], SETTINGS)
    assert judged == Equivalence(Verdict.INCONCLUSIVE, ("3 seeds are too few to judge: give at least 4",))


def test_differences_without_any_spread_are_judged_and_stated_with_their_margin_and_seeds() -> None:
    mine, reference = simulated(np.random.default_rng(24), 4)
    assert judge_curves(mine, reference, SETTINGS).verdict is Verdict.EQUIVALENT
    shifted = [make_curve(curve.seed, LOSS + 0.5) for curve in mine]
    assert judge_curves(shifted, reference, SETTINGS).verdict is Verdict.DIFFERENT
    mine, reference = simulated(np.random.default_rng(24), 4)
    judged = judge_curves(mine, reference, SETTINGS)
    assert judged.why == (
        "final training loss +0 [+0, +0], margin 0.02, 4 seeds",
        "test accuracy +0 [+0, +0], margin 0.014, 4 seeds",
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
    assert verdicts({"paired_sd": MARGIN}, many, 40)[Verdict.EQUIVALENT] > 36


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


def test_a_nan_is_different_where_it_is_not_the_references_own() -> None:
    mine, reference = simulated(np.random.default_rng(29), 3)
    mine[2] = make_nan_curve(seed=2, step=57)
    assert judge_curves(mine, reference, SETTINGS) == Equivalence(
        Verdict.DIFFERENT, ("the loss is NaN or infinite from step 57 on (seed 2)",)
    )
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
        losses = [LOSS + generator.normal(0, seed_sd) for _ in range(6)]
        mean = sum(losses) / 6
        spread = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 5)
        assert margin_of(losses, SETTINGS) == pytest.approx(max(SETTINGS.margin * abs(mean), spread))


def test_a_margin_is_in_the_unit_of_its_figure_and_as_wide_as_set() -> None:
    assert margin_of([200.0, 200.0], Verification(margin=0.3)) == pytest.approx(60.0)
    assert margin_of([-200.0, -200.0], Verification(margin=0.3)) == pytest.approx(60.0)


def test_the_final_loss_is_the_mean_of_the_last_third() -> None:
    assert final_loss(Curve(0, (9.0, 9.0, 9.0, 9.0, 1.0, 3.0), ())) == 2.0
    assert final_loss(Curve(0, (9.0, 9.0, 2.0, 4.0), ())) == 3.0
    assert final_loss(Curve(0, (7.0,), ())) == 7.0


def test_a_figure_is_the_mean_over_the_evaluations() -> None:
    """One of them alone lies beyond the margin, their mean does not."""
    reference = [make_curve(seed, LOSS) for seed in range(8)]
    accuracies = [(1, ACCURACY + 0.05), (2, ACCURACY - 0.03), (3, ACCURACY - 0.02)]
    tests = tuple(Evaluation(step, LOSS, figures={"accuracy": accuracy}) for step, accuracy in accuracies)
    mine = [Curve(seed, (2.3, 1.5, LOSS), tests) for seed in range(8)]
    assert judge_curves(mine, reference, Verification()).verdict is Verdict.EQUIVALENT
    only_first = [Curve(seed, (2.3, 1.5, LOSS), tests[:1]) for seed in range(8)]
    assert judge_curves(only_first, reference, Verification()).verdict is Verdict.DIFFERENT


def with_figures(seed: int, **figures: float | None) -> Curve:
    return Curve(seed, (2.3, 1.5, LOSS), (Evaluation(3, LOSS, figures=figures),))


def test_each_figure_is_judged_in_its_own_unit_by_its_name() -> None:
    reference = [with_figures(seed, error_in_dollars=5000.0 + seed, recall=0.5) for seed in range(8)]
    dollar_more = [with_figures(seed, error_in_dollars=5001.0 + seed, recall=0.5) for seed in range(8)]
    assert judge_curves(dollar_more, reference, SETTINGS).verdict is Verdict.EQUIVALENT
    less_recall = [with_figures(seed, error_in_dollars=5000.0 + seed, recall=0.4) for seed in range(8)]
    found = judge_curves(less_recall, reference, SETTINGS)
    assert found.verdict is Verdict.DIFFERENT
    assert found.why == ("test recall -0.1 [-0.1, -0.1], margin 0.01, 8 seeds",)


def test_what_some_training_lacks_is_not_judged() -> None:
    reference = [with_figures(seed, recall=0.5, f1=None if seed == 3 else 0.5) for seed in range(8)]
    mine = [with_figures(seed, recall=0.5, f1=0.1) for seed in range(8)]
    assert judge_curves(mine, reference, SETTINGS).why[-1].startswith("test recall ")
    reference = [Curve(seed, (2.3, 1.5, LOSS)) for seed in range(8)]
    (why,) = judge_curves(reference, reference, SETTINGS).why
    assert why.startswith("final training loss ")


def test_records_of_before_which_have_an_accuracy_of_its_own_are_judged() -> None:
    reference = [Curve(seed, (2.3, 1.5, LOSS), (Evaluation(3, LOSS, ACCURACY),)) for seed in range(8)]
    mine = [Curve(seed, (2.3, 1.5, LOSS), (Evaluation(3, LOSS, ACCURACY - 0.1),)) for seed in range(8)]
    (why,) = judge_curves(mine, reference, SETTINGS).why
    assert why.startswith("test accuracy -0.1 ")


def faulty(curves: Curves, *steps: int) -> Curves:
    faults = tuple(Fault(step, f"update of dense/kernel is off after {step}") for step in steps)
    return [msgspec.structs.replace(curve, faults=faults) for curve in curves]


def test_a_fault_that_the_audit_saw_is_different_whatever_the_losses_say() -> None:
    mine, reference = simulated(np.random.default_rng(34), 8)
    assert judge_curves(mine, reference, SETTINGS).verdict is Verdict.EQUIVALENT
    found = judge_curves(faulty(mine[:1], 49), reference, SETTINGS)
    assert found == Equivalence(Verdict.DIFFERENT, ("update of dense/kernel is off after 49 in step 50 (seed 0)",)), (
        "one seed is enough"
    )


def test_the_first_faults_are_told_and_the_rest_is_counted() -> None:
    mine, reference = simulated(np.random.default_rng(35), 4)
    found = judge_curves(faulty(mine, *range(3)), reference, SETTINGS)
    assert len(found.why) == MOST_FAULTS + 1
    assert found.why[-1] == f"and in {4 * 3 - MOST_FAULTS} more"


def test_faults_that_the_reference_has_too_are_held_against_nobody() -> None:
    mine, reference = simulated(np.random.default_rng(36), 8)
    reference[5] = faulty([reference[5]], 7)[0]
    assert judge_curves(faulty(mine, 7), reference, SETTINGS).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize("seeds", [0, 1, 4, 5, 8, 9, 40])
def test_the_error_is_shared_among_as_many_looks_as_there_are(seeds: int) -> None:
    settings = Verification(seeds=seeds)
    looks = [done for done in range(1, seeds + 1) if is_look(done, settings) and done >= FIRST_LOOK]
    assert equivalence._looks(seeds) == max(1, len(looks))
    assert not looks or looks[-1] == seeds
    assert all(later > sooner for sooner, later in pairwise(looks))


RIGHT = Point(7, TensorError("loss", 0.0, 0.0, 1e-6), (TensorError("kernel", 1e-6, 0.0, 1e-6),), (), (), (), 0, "")
WRONG = msgspec.structs.replace(RIGHT, gradients=(TensorError("kernel", 0.1, 0.1, 1e-6),))


def test_a_step_that_the_reference_does_not_take_from_there_is_told_however_equal_the_losses() -> None:
    mine, reference = simulated(np.random.default_rng(5), FIRST_LOOK, paired_sd=0.01 * MARGIN)
    looked, seen = (
        [msgspec.structs.replace(one, points=(RIGHT, RIGHT)) for one in curves] for curves in (mine, reference)
    )
    assert judge_curves(looked, seen, SETTINGS).verdict is Verdict.EQUIVALENT
    once = [*looked[:-1], msgspec.structs.replace(looked[-1], points=(RIGHT, WRONG))]
    found = judge_curves(once, seen, SETTINGS)
    assert found.verdict is Verdict.DIFFERENT
    assert found.why[0].startswith("as it trained, gradient of kernel is ")
    assert "at 1 of 8 points" in found.why[0]
    # Where nothing, or little, is known of the reference's own steps, there is nothing to hold against.
    assert judge_curves(once, reference, SETTINGS).verdict is Verdict.EQUIVALENT
    assert judge_curves(once[-1:], seen[-1:], SETTINGS).verdict is Verdict.INCONCLUSIVE
    # Where the reference's own trainings have some, the comparison does not fit the workload.
    others = [msgspec.structs.replace(curve, points=(WRONG,)) for curve in reference]
    assert judge_curves(once, others, SETTINGS).verdict is Verdict.EQUIVALENT
