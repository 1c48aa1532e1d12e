from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from builders import make_block, make_case, make_measurement, make_replicate
from chances import quantile
from hypothesis import given
from hypothesis import strategies as st

from stepbench.judge.statistics import (
    CONFIDENCE,
    Estimate,
    mean_interval,
    speedup,
    step_time,
    t_quantile,
    winsorized_mean,
)
from stepbench.records.run import Measurement

CASE = make_case("graph")
REFERENCE = make_case("eager")
REPLICATES = 4
ROUNDS = 8
SEED = 20260101
DATA_SETS = 250
PROCESS_SD = 0.05
BLOCK_SD = 0.03
TRUE_SPEEDUP = 1.7
TRUE_STEP_TIME = 0.02

positive = st.floats(1e-6, 1e3)


@pytest.mark.parametrize("probability", [0.5, 0.6, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9995, 0.999999])
def test_t_quantile_is_that_of_scipy(probability: float) -> None:
    import scipy.stats

    grid = [*range(1, 41), 99, 100, 1000, 1001]
    expected = scipy.stats.t.ppf(probability, grid)
    found = [t_quantile(probability, degrees_of_freedom) for degrees_of_freedom in grid]
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("probability", "degrees_of_freedom"), [(0.4, 5), (1.0, 5), (1.5, 5), (0.975, 0), (0.9, -1)])
def test_t_quantile_refuses_what_it_does_not_cover(probability: float, degrees_of_freedom: int) -> None:
    with pytest.raises(ValueError, match="No t quantile"):
        t_quantile(probability, degrees_of_freedom)


def test_mean_interval_is_the_students() -> None:
    import scipy.stats

    values = [1.0, 2.0, 4.0, 8.0]
    expected = scipy.stats.t.interval(0.9, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert mean_interval(values, 0.9) == pytest.approx((3.75, *expected))


def test_step_time_is_the_geometric_mean_by_step_over_blocks_and_then_over_replicates() -> None:
    # Blocks have 10 steps. Replicates count alike, however many blocks they have.
    estimate = step_time(make_measurement(CASE, [0.05, 0.2], [0.4]))
    assert estimate is not None
    assert estimate.value == pytest.approx(0.02)
    assert estimate.confidence == CONFIDENCE
    blocks = (make_block(0, 0.1, steps=10), make_block(1, 0.2, steps=20))
    estimate = step_time(make_measurement(CASE, [], blocks=blocks))
    assert estimate is not None
    assert estimate.value == pytest.approx(0.01)


def test_one_replicate_gives_no_bounds_however_many_blocks_it_has() -> None:
    one, reference = make_measurement(CASE, [0.1] * 50), make_measurement(REFERENCE, [0.2] * 50)
    for estimate in (step_time(one), speedup(one, reference)):
        assert estimate is not None
        assert (estimate.low, estimate.high, estimate.relative_half_width) == (None, None, None)


@pytest.mark.parametrize("measurement", [make_measurement(CASE), make_measurement(CASE, []), Measurement(CASE)])
def test_nothing_measured_gives_no_estimate(measurement: Measurement) -> None:
    assert step_time(measurement) is None
    assert speedup(measurement, make_measurement(REFERENCE, [0.1])) is None
    assert speedup(make_measurement(CASE, [0.1]), measurement) is None


def test_a_replicate_without_blocks_is_none() -> None:
    full = make_measurement(CASE, [0.1], [0.2], [])
    assert step_time(full) == step_time(make_measurement(CASE, [0.1], [0.2]))
    reference = make_measurement(REFERENCE, [0.2], [0.2], [0.2])
    assert speedup(full, reference) == speedup(make_measurement(CASE, [0.1], [0.2]), reference)


def test_a_speedup_is_above_one_if_faster_of_the_rounds_that_both_have() -> None:
    estimate = speedup(make_measurement(CASE, [0.1], [0.1]), make_measurement(REFERENCE, [0.2], [0.2]))
    assert estimate is not None
    assert estimate.value == pytest.approx(2.0)
    estimate = speedup(make_measurement(CASE, [0.1, 0.1]), make_measurement(REFERENCE, [0.2, 0.2, 99.0]))
    assert estimate is not None
    assert estimate.value == pytest.approx(2.0)
    times = [make_block(0, 0.1), make_block(0, 0.4), make_block(1, 0.2)]
    reference = make_measurement(REFERENCE, [], blocks=tuple(times))
    estimate = speedup(make_measurement(CASE, [0.1, 0.1]), reference)
    assert estimate is not None
    assert estimate.value == pytest.approx(2.0)  # The geometric mean of 0.1 and 0.4 is 0.2.


@given(st.lists(st.lists(positive, min_size=1, max_size=6), min_size=3, max_size=5), st.floats(0.01, 100))
def test_drift_common_to_both_sides_cancels_exactly(drift: list[list[float]], factor: float) -> None:
    reference = make_measurement(REFERENCE, *drift)
    estimate = speedup(make_measurement(CASE, *([x / factor for x in rounds] for rounds in drift)), reference)
    assert estimate is not None
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((factor, factor, factor), rel=1e-9)


def test_blocks_are_paired_by_their_rounds_not_by_their_order() -> None:
    seconds = {0: 0.1, 1: 0.4, 2: 1.6}
    forward = tuple(make_block(number, seconds[number]) for number in (0, 1, 2))
    backward = tuple(make_block(number, seconds[number] * 3) for number in (2, 1, 0))
    estimate = speedup(
        make_measurement(CASE, [], [], [], blocks=forward), make_measurement(REFERENCE, [], [], [], blocks=backward)
    )
    assert estimate is not None
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((3.0, 3.0, 3.0))


def test_a_round_that_was_disturbed_on_one_side_does_not_move_the_speedup() -> None:
    mine = make_measurement(CASE, [0.1, 0.1, 0.1, 0.1, 7.0], [0.1] * 5, [0.1] * 5)
    reference = make_measurement(REFERENCE, [0.2] * 5, [0.2, 0.2, 9.0, 0.2, 0.2], [0.2] * 5)
    estimate = speedup(mine, reference)
    assert estimate is not None
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((2.0, 2.0, 2.0))


def test_replicates_are_paired_only_where_both_exist() -> None:
    mine = Measurement(CASE, tuple(make_replicate(CASE, [0.1], number) for number in (0, 1, 4)))
    theirs = Measurement(REFERENCE, tuple(make_replicate(REFERENCE, [0.1 * 2**n], n) for n in (7, 1, 2, 0)))
    both = speedup(mine, theirs)
    assert both == speedup(make_measurement(CASE, [0.1], [0.1]), make_measurement(REFERENCE, [0.1], [0.2]))
    assert both is not None
    assert both.value == pytest.approx(math.sqrt(2))
    assert speedup(msgspec.structs.replace(mine, replicates=mine.replicates[2:]), theirs) is None


@given(positive, positive, positive, st.floats(0.1, 1e4))
def test_the_inverse_swaps_the_bounds(a: float, b: float, c: float, numerator: float) -> None:
    low, value, high = sorted((a, b, c))
    inverse = Estimate(value, low, high, 0.9).inverse(numerator)
    assert inverse == Estimate(numerator / value, numerator / high, numerator / low, 0.9)
    assert inverse.low is not None
    assert inverse.high is not None
    assert inverse.low <= inverse.value <= inverse.high


def test_an_estimate_without_bounds_has_none_inverted_and_its_width_is_the_larger_side() -> None:
    assert Estimate(4.0, None, None).inverse(2.0) == Estimate(0.5, None, None)
    assert Estimate(10.0, 9.0, 12.0).relative_half_width == pytest.approx(0.2)
    assert Estimate(10.0, 7.0, 12.0).relative_half_width == pytest.approx(0.3)


@functools.cache
def simulated(*, drifting: bool) -> tuple[tuple[Measurement, Measurement], ...]:
    """Data sets of a case and its reference, on a machine whose processes and blocks differ, drifting or not."""
    random = np.random.default_rng(SEED)
    shape = (2, REPLICATES, ROUNDS)
    base = np.log([[[TRUE_STEP_TIME]], [[TRUE_STEP_TIME * TRUE_SPEEDUP]]])
    data_sets = []
    for _ in range(DATA_SETS):
        process = random.normal(0, PROCESS_SD, shape[:2])[:, :, None]
        drift = random.normal(0, 0.1, shape[1:]).cumsum().reshape(shape[1:]) * drifting
        mine, theirs = (np.exp(base + process + random.normal(0, BLOCK_SD, shape) + drift) * 10).tolist()
        data_sets.append((make_measurement(CASE, *mine), make_measurement(REFERENCE, *theirs)))
    return tuple(data_sets)


def pooled_speedup(measurement: Measurement, reference: Measurement) -> Estimate:
    """The planted mistake: every block is taken for an independent observation, and processes are forgotten."""
    pairs = itertools.chain.from_iterable(
        zip(theirs.blocks, mine.blocks, strict=True)
        for mine, theirs in zip(measurement.replicates, reference.replicates, strict=True)
    )
    mean, low, high = mean_interval([math.log(theirs.seconds / mine.seconds) for theirs, mine in pairs])
    assert low is not None
    assert high is not None
    return Estimate(math.exp(mean), math.exp(low), math.exp(high))


def unpaired_speedup(measurement: Measurement, reference: Measurement) -> Estimate:
    """The other planted mistake: the ratio of two separately measured medians, with no regard to the moment."""
    mine, theirs = (
        [math.log(statistics.median(block.seconds for block in replicate.blocks)) for replicate in side.replicates]
        for side in (measurement, reference)
    )
    error = math.sqrt((statistics.variance(mine) + statistics.variance(theirs)) / REPLICATES)
    reach = t_quantile((1 + CONFIDENCE) / 2, 2 * REPLICATES - 2) * error
    mean = statistics.fmean(theirs) - statistics.fmean(mine)
    return Estimate(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


def covered(
    estimator: Callable[[Measurement, Measurement], Estimate | None], truth: float, *, drifting: bool = True
) -> int:
    """In how many simulated data sets the interval holds the truth."""
    estimates = [estimator(*sides) for sides in simulated(drifting=drifting)]
    return sum(
        estimate is not None
        and estimate.low is not None
        and estimate.high is not None
        and estimate.low <= truth <= estimate.high
        for estimate in estimates
    )


LEAST, MOST = (quantile(probability, DATA_SETS, CONFIDENCE) for probability in (0.0005, 0.9995))
"""How many of the intervals may hold the truth if each does with 95 % probability: exact bounds of 99.9 %."""


def test_the_speedups_interval_holds_the_truth_as_often_as_it_says() -> None:
    assert LEAST <= covered(speedup, TRUE_SPEEDUP) <= MOST


def test_the_step_times_interval_holds_the_truth_as_often_as_it_says() -> None:
    count = covered(lambda mine, _: step_time(mine), TRUE_STEP_TIME, drifting=False)
    assert LEAST <= count <= MOST


def test_an_interval_from_pooled_blocks_is_found_to_be_far_too_narrow() -> None:
    assert covered(pooled_speedup, TRUE_SPEEDUP) < 0.8 * DATA_SETS


def test_pairing_makes_the_interval_narrower_than_two_separate_ones() -> None:
    widths = [
        (paired.relative_half_width or math.inf, unpaired_speedup(mine, theirs).relative_half_width or math.inf)
        for mine, theirs in itertools.islice(simulated(drifting=True), 200)
        if (paired := speedup(mine, theirs))
    ]
    paired_width, unpaired_width = (statistics.median(width) for width in zip(*widths, strict=True))
    assert paired_width < unpaired_width / 2


def test_of_many_blocks_the_extremes_count_as_the_next_and_of_few_all() -> None:
    assert winsorized_mean([1.0, 1.0, 2.0, 2.0, 900.0]) == pytest.approx(8 / 5)
    assert winsorized_mean([-900.0, 1.0, 1.0, 2.0, 2.0]) == pytest.approx(7 / 5)
    assert winsorized_mean([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]) == pytest.approx(11 / 7)
    assert winsorized_mean([5.0]) == 5.0
    assert winsorized_mean([1.0, 2.0, 3.0, 10.0]) == 4.0
