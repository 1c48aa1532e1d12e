"""Change points: found where they were planted, and rarely where there is none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from chances import most

from stepbench.judge import history
from stepbench.judge.history import (
    FEWEST_RUNS,
    LEAST_NOISE,
    PENALTY,
    SEGMENT,
    RunTime,
    Series,
    change_points,
    noise_between,
    series_of,
    without_outliers,
)

NOISE = 0.01
STEP = math.log1p(0.05)
FALSE_ALARMS = 0.05
"""What is documented: of series of noise alone, at most this share has a change point."""


def times(levels: Iterable[float], machine: str = "here", first: int = 0) -> list[RunTime]:
    """Runs of two replicates each, named by their numbers."""
    return [RunTime(str(number), machine, (level, level)) for number, level in enumerate(levels, first)]


def found(levels: Iterable[float]) -> Series:
    (series,) = series_of(times(levels))
    return series


def with_changes(series: int, count: int, *, heavy_tails: bool = False) -> int:
    """Of so many series of noise alone, how many have a change point."""
    rng = np.random.default_rng(count)
    draws = rng.standard_t(4, (series, count)) if heavy_tails else rng.normal(size=(series, count))
    return sum(bool(found(NOISE * draw).changes) for draw in draws)


@pytest.mark.parametrize(
    ("series", "counts"), [(100, (6, 12, 40)), pytest.param(2000, (6, 8, 12, 16, 40), marks=pytest.mark.slow)]
)
def test_noise_alone_has_change_points_no_more_often_than_is_documented(series: int, counts: Sequence[int]) -> None:
    for count, heavy_tails in itertools.product(counts, (False, True)):
        alarms = with_changes(series, count, heavy_tails=heavy_tails)
        assert alarms <= most(FALSE_ALARMS, series), (count, heavy_tails)


def test_the_penalty_of_the_information_criterion_would_raise_more_false_alarms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "PENALTY", 2.0)
    assert with_changes(800, 12) > most(2 * FALSE_ALARMS, 800)


@pytest.mark.parametrize(("before", "after"), [(12, 12), (20, 3), (3, 20), (5, 15)])
def test_a_step_of_5_percent_in_noise_of_1_percent_is_found_where_it_is(before: int, after: int) -> None:
    rng = np.random.default_rng(before)
    exact = near = covered = 0
    for _ in range(100):
        noise = rng.normal(0, NOISE, before + after)
        changes = found(noise + STEP * (np.arange(before + after) >= before)).changes
        if len(changes) == 1:
            exact += changes[0].run == str(before)
            near += abs(int(changes[0].run) - before) <= 1
            ratio = changes[0].ratio
            covered += ratio.low is not None and ratio.high is not None and ratio.low <= 1.05 <= ratio.high
    assert exact >= 0.9 * 100
    assert near >= 0.92 * 100
    assert covered >= 0.85 * near  # The interval takes the place for known, so it is a little narrow.


def test_a_change_names_the_runs_on_both_sides_and_its_size() -> None:
    levels = np.random.default_rng(0).normal(0, NOISE, 20) - STEP * (np.arange(20) >= 12)
    series = found(levels)
    (change,) = series.changes
    assert (change.previous, change.run) == ("11", "12")
    assert change.ratio.value == pytest.approx(1 / 1.05, rel=0.01)
    assert [(one.first, one.last, one.runs) for one in series.segments] == [("0", "11", 12), ("12", "19", 8)]
    levels_found = [one.step_time_s.value for one in series.segments]
    assert levels_found[1] / levels_found[0] == pytest.approx(change.ratio.value)
    assert series.noise == pytest.approx(NOISE, rel=0.5)


def test_a_change_of_machine_is_no_change_point() -> None:
    rng = np.random.default_rng(1)
    here, there = times(rng.normal(0, NOISE, 12)), times(rng.normal(1, NOISE, 12), "there", first=12)
    in_turn = [run for pair in zip(here, there, strict=True) for run in pair]
    for runs in ([*here, *there], in_turn):
        series = series_of(runs)
        assert [(one.machine, one.runs, one.changes) for one in series] == [("here", 12, ()), ("there", 12, ())]


@pytest.mark.parametrize("places", [(0,), (1,), (9,), (18,), (19,), (8, 9), (0, 1), (18, 19), (3, 15)])
def test_one_or_two_outlying_runs_are_no_change_point(places: tuple[int, ...]) -> None:
    quiet = np.random.default_rng(3).normal(0, NOISE, 20)
    assert found(quiet).changes == ()
    for size in (0.1, -0.5, 5.0):
        levels = quiet.copy()
        levels[list(places)] += size
        series = found(levels)
        assert series.changes == ()
        assert set(series.outliers) >= {str(place) for place in places}
        (segment,) = series.segments
        assert segment.step_time_s.value == pytest.approx(1, abs=NOISE)


def test_a_change_whose_interval_holds_none_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [0.0, 0.001, 0.0, 0.05, -0.01, 0.03, *([0.0, 0.001] * 5)]
    monkeypatch.setattr(history, "without_outliers", lambda levels, _: levels)
    assert change_points(levels, noise_between(levels)) == [3, 6]
    assert found(levels).changes == ()


def test_three_runs_of_another_level_are_two_change_points() -> None:
    levels = np.random.default_rng(4).normal(0, NOISE, 20)
    levels[9:12] += 0.2
    series = found(levels)
    assert [change.run for change in series.changes] == ["9", "12"]
    assert series.outliers == ()


@pytest.mark.parametrize("count", range(1, FEWEST_RUNS))
def test_too_few_runs_are_not_looked_at(count: int) -> None:
    series = found([0.0, 0.0, 0.0, 1.0, 1.0][:count])
    assert (series.noise, series.changes, len(series.segments)) == (None, (), 1)


def test_the_fewest_runs_that_are_looked_at_show_a_change() -> None:
    series = found([0.0, 0.001, 0.0, 0.1, 0.101, 0.1])
    assert [change.run for change in series.changes] == [str(SEGMENT)]


def test_equal_runs_have_no_change_point_and_some_noise_is_assumed() -> None:
    series = found([1.0] * 10)
    assert (series.noise, series.changes, series.outliers) == (LEAST_NOISE, (), ())
    assert series_of([]) == ()


def test_the_noise_is_that_between_runs_whatever_changes_and_outliers() -> None:
    rng = np.random.default_rng(5)
    levels = rng.normal(0, NOISE, 2000) + np.repeat(rng.normal(0, 0.1, 20), 100)
    levels[::50] += 1
    assert noise_between(levels.tolist()) == pytest.approx(NOISE, rel=0.1)


def test_a_level_that_lasts_three_runs_is_left_as_it_is() -> None:
    levels = [0.0] * 3 + [1.0] * 3 + [2.0] * 4 + [-1.0] * 3
    assert without_outliers(levels, NOISE) == levels


def least_cost(levels: Sequence[float]) -> float:
    """The least penalised sum of squares, by dynamic programming over every number of changes."""
    import ruptures

    signal = np.array(levels)[:, None]
    search = ruptures.Dynp(model="l2", min_size=SEGMENT, jump=1).fit(signal)
    ends = [[len(levels)], *(search.predict(n_bkps=count) for count in range(1, len(levels) // SEGMENT))]
    return min(cost(levels, points[:-1]) for points in ends)


def cost(levels: Sequence[float], points: Sequence[int]) -> float:
    bounds = itertools.pairwise([0, *points, len(levels)])
    squares = sum(float(np.var(levels[start:end])) * (end - start) for start, end in bounds)
    return squares + len(points) * PENALTY * math.log(len(levels))


@pytest.mark.parametrize("seed", range(8))
def test_the_segmentation_is_the_best_there_is_by_another_implementation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(FEWEST_RUNS, 26))
    steps = np.repeat(rng.normal(0, 4, count), rng.integers(1, 9))[:count]
    levels = (rng.normal(size=count) + steps).tolist()
    points = change_points(levels, 1.0)
    assert all(end - start >= SEGMENT for start, end in itertools.pairwise([0, *points, count]))
    assert cost(levels, points) == pytest.approx(least_cost(levels))
