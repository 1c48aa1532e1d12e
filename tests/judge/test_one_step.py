from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from stepbench.judge.one_step import LEAN_LIMIT, MEDIAN_LIMIT, MOST_COMPLAINTS, POINT_LIMIT, agrees, complaints
from stepbench.records.verify import Agreement, Point, TensorError

YARDSTICK = 1e-6
STEPS = (0, 1, 3, 10, 30, 100, 200, 300)
PARTS = ("gradients", "changes", "updates", "slots", "statistics")


def make_tensor(name: str, yardsticks: float | None = 1.0, length: float | None = 0.0) -> TensorError:
    """An error of so many yardsticks, and a norm that is too long by ``length`` (a logarithm)."""
    return TensorError(name, None if yardsticks is None else yardsticks * YARDSTICK, length, YARDSTICK)


def make_point(step: int) -> Point:
    return Point(
        step=step,
        loss=make_tensor("loss"),
        gradients=(make_tensor("dense/kernel"), make_tensor("dense/bias")),
        updates=(make_tensor("dense/kernel"), make_tensor("dense/bias")),
        slots=(make_tensor("adam_momentum"),),
        statistics=(make_tensor("statistic 0"),),
        skipped=0,
        digest="0123456789abcdef",
        changes=(make_tensor("dense/kernel"), make_tensor("dense/bias")),
    )


def make_agreement(*points: Point) -> Agreement:
    return Agreement("float64", None, gradients_seen=True, step_s=0.001, points=points or tuple(map(make_point, STEPS)))


def planted(part: str, *errors: TensorError) -> Agreement:
    """An innocent step but for the first tensor of a part; one error for each point, or one for all."""
    if len(errors) == 1:
        errors *= len(STEPS)
    points = []
    for step, error in zip(STEPS, errors, strict=True):
        point = make_point(step)
        value = error if part == "loss" else (error, *getattr(point, part)[1:])
        points.append(msgspec.structs.replace(point, **{part: value}))
    return make_agreement(*points)


def test_errors_of_a_few_yardsticks_are_innocent() -> None:
    generator = np.random.default_rng(1)

    def error(name: str) -> TensorError:
        yardsticks = generator.uniform(0, MEDIAN_LIMIT / 2)
        return make_tensor(name, yardsticks, YARDSTICK * generator.uniform(-yardsticks, yardsticks))

    for part in PARTS:
        assert complaints(planted(part, *(error("anything") for _ in STEPS))) == ()
    assert complaints(planted("loss", *(error("loss") for _ in STEPS))) == ()


@pytest.mark.parametrize("yardstick", [0.0, YARDSTICK])
def test_an_exact_step_is_innocent_whatever_the_yardstick(yardstick: float) -> None:
    assert complaints(planted("gradients", TensorError("dense/kernel", 0.0, 0.0, yardstick))) == ()


def test_any_error_is_too_much_where_rounding_makes_none_and_nothing_is_wrong_without_points() -> None:
    (sentence,) = complaints(planted("gradients", TensorError("dense/kernel", 1e-9, 1e-9, 0.0)))
    assert "dense/kernel" in sentence
    bare = msgspec.structs.replace(make_point(0), gradients=(), changes=(), updates=(), slots=(), statistics=())
    assert complaints(make_agreement(bare)) == ()


def test_an_error_that_is_told_says_by_how_much_and_where() -> None:
    error = TensorError("dense/kernel", 0.02, math.log(1.02), YARDSTICK)
    assert complaints(planted("gradients", error)) == (
        "gradient of dense/kernel is 1.020× as long as it should be at all points",
    )
    (sentence,) = complaints(planted("gradients", make_tensor("dense/kernel", 5000.0)))
    assert sentence == (
        "gradient of dense/kernel is off by 0.005 of its length at all points, 5e+03× what rounding does"
    )
    errors = [make_tensor("dense/kernel") for _ in STEPS]
    errors[3] = make_tensor("dense/kernel", 10 * POINT_LIMIT)
    (sentence,) = complaints(planted("gradients", *errors))
    assert sentence == (
        "gradient of dense/kernel is off by 0.001 of its length at 1 of 8 points, 1e+03× what rounding does"
    )


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("loss", "loss"),
        ("gradients", "gradient of dense/kernel"),
        ("changes", "change of dense/kernel"),
        ("updates", "update of dense/kernel"),
        ("slots", "optimizer variable dense/kernel"),
        ("statistics", "dense/kernel"),
    ],
)
def test_every_part_of_a_step_is_looked_at(part: str, title: str) -> None:
    name = "loss" if part == "loss" else "dense/kernel"
    (sentence,) = complaints(planted(part, make_tensor(name, 10 * MEDIAN_LIMIT)))
    assert sentence.startswith(f"{title} is off by ")


@pytest.mark.parametrize("part", ["loss", *PARTS])
def test_a_nan_is_the_worst_and_names_its_step(part: str) -> None:
    errors = [make_tensor("planted", 1e9) for _ in STEPS]
    errors[2] = make_tensor("planted", None, None)
    agreement = planted(part, *errors)
    sentence, *_ = complaints(agreement)
    assert sentence.endswith(f"is NaN or infinite in the step after step {STEPS[2]}")
    assert not agrees(agreement)


@pytest.mark.parametrize(("share", "caught"), [(0.99, False), (1.01, True)])
def test_the_median_error_has_a_limit(share: float, caught: bool) -> None:  # noqa: FBT001 - an expectation.
    agreement = planted("gradients", make_tensor("dense/kernel", share * MEDIAN_LIMIT))
    assert bool(complaints(agreement)) is caught


@pytest.mark.parametrize(("share", "caught"), [(0.99, False), (1.01, True)])
def test_a_single_point_has_a_limit_of_its_own(share: float, caught: bool) -> None:  # noqa: FBT001 - an expectation.
    errors = [make_tensor("dense/kernel") for _ in STEPS]
    errors[3] = make_tensor("dense/kernel", share * POINT_LIMIT)
    assert bool(complaints(planted("gradients", *errors))) is caught


def test_an_error_that_a_unit_tipping_over_explains_is_innocent_at_one_point_and_not_at_all_of_them() -> None:
    jumping = TensorError("dense/kernel", 1000 * YARDSTICK, 0.0, YARDSTICK, jump=1001 * YARDSTICK)
    errors = [make_tensor("dense/kernel") for _ in STEPS]
    errors[3] = jumping
    assert complaints(planted("gradients", *errors)) == ()
    errors[3] = msgspec.structs.replace(jumping, error=1002 * YARDSTICK)
    assert complaints(planted("gradients", *errors))
    assert complaints(planted("gradients", jumping))


def test_tensors_of_one_name_are_judged_apart() -> None:
    """Two updates of one weight in one step: the second is wrong, and half of all errors would hide it."""
    twice = (make_tensor("dense/kernel", 0.1), make_tensor("dense/kernel", 2 * MEDIAN_LIMIT))
    points = [msgspec.structs.replace(make_point(step), updates=twice) for step in STEPS]
    (sentence,) = complaints(make_agreement(*points))
    assert sentence.startswith("update of dense/kernel is off by ")


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_lean_is_caught_where_each_single_error_is_within_limits(sign: int) -> None:
    generator = np.random.default_rng(2)
    lengths = [sign * YARDSTICK * generator.normal(3 * LEAN_LIMIT / 2, 0.05) for _ in STEPS]
    leaning = [TensorError("dense/kernel", abs(length), length, YARDSTICK) for length in lengths]
    (sentence,) = complaints(planted("gradients", *leaning))
    assert sentence.startswith("gradient of dense/kernel is ")
    assert sentence.endswith("× as long as it should be on average")
    # The same errors that do not lean are innocent.
    alternating = [
        msgspec.structs.replace(error, log_norm_ratio=(-1) ** index * abs(length))
        for index, (error, length) in enumerate(zip(leaning, lengths, strict=True))
    ]
    assert complaints(planted("gradients", *alternating)) == ()


def test_a_lean_is_not_proved_by_a_single_point() -> None:
    bare = msgspec.structs.replace(
        make_point(0), gradients=(TensorError("dense/kernel", 5e-6, 5e-6, YARDSTICK), make_tensor("dense/bias"))
    )
    assert complaints(make_agreement(bare)) == ()


def test_random_lengths_are_not_mistaken_for_a_lean() -> None:
    generator = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(700):
        lengths = [YARDSTICK * generator.normal(0, 3) for _ in STEPS]
        errors = [TensorError("dense/kernel", YARDSTICK, length, YARDSTICK) for length in lengths]
        false_alarms += bool(complaints(planted("gradients", *errors)))
    assert false_alarms == 0


def test_the_worst_come_first_and_the_rest_is_counted() -> None:
    kinds = [(f"layer_{number}/kernel", 100.0 * number) for number in range(1, MOST_COMPLAINTS + 3)]
    points = [
        msgspec.structs.replace(
            make_point(step), gradients=tuple(make_tensor(name, yardsticks) for name, yardsticks in kinds)
        )
        for step in STEPS
    ]
    *sentences, last = complaints(make_agreement(*points))
    assert [sentence.split()[2] for sentence in sentences] == ["layer_5/kernel", "layer_4/kernel", "layer_3/kernel"]
    assert last == "and 2 more tensors"
    one_less = [msgspec.structs.replace(point, gradients=point.gradients[1:]) for point in points]
    assert complaints(make_agreement(*one_less))[-1] == "and 1 more tensor"


def test_only_a_step_that_was_compared_whole_agrees() -> None:
    whole = make_agreement()
    assert agrees(whole)
    assert not agrees(None)
    assert not agrees(msgspec.structs.replace(whole, not_comparable="the model's random layers draw other numbers"))
    assert not agrees(msgspec.structs.replace(whole, gradients_seen=False))
    assert not agrees(planted("updates", make_tensor("dense/kernel", 5000.0)))
