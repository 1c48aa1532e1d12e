"""A case's step time over stored runs, and where its level changed.

A run is one number here, the mean logarithm of its replicates: runs of different days differ by more than their
intervals say, so the spread between runs is estimated from the runs themselves. Machines are looked at apart.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import msgspec

from stepbench.judge.compare import ratio_between
from stepbench.judge.statistics import Estimate, from_logs

SEGMENT = 3
"""Runs that a lasting level takes at least; fewer are outliers."""
FEWEST_RUNS = 2 * SEGMENT
PENALTY = 4.0
"""Of one more change point, times the logarithm of the number of runs, for noise of variance 1.

The Bayesian information criterion asks for 2, which finds changes in more than one series of noise alone in ten; with
this it is at most one in twenty, from 6 runs to 1,000.
"""
LEAST_NOISE = 0.001
"""Of the standard deviation between runs: a few that agree better do so by chance."""
OUTLYING = 3.0
"""Standard deviations from the median of its neighbours beyond which a run is an outlier."""
WINDOW = 5
"""Runs of which that median is taken: two outliers in a row do not move it, and three runs are a level."""
_NORMAL_MEDIAN = 0.6744897501960817
"""The median absolute value of a standard normal variable."""


class RunTime(msgspec.Struct, frozen=True):
    """What one run says of the case."""

    run: str
    machine: str
    """Its fingerprint."""
    logs: tuple[float, ...]
    """The logarithm of the seconds a step of each replicate; at least one."""


class Segment(msgspec.Struct, frozen=True):
    """Successive runs of one machine between which no lasting change was found."""

    first: str
    last: str
    runs: int
    step_time_s: Estimate
    """The mean over runs, with an interval from their spread."""


class Change(msgspec.Struct, frozen=True):
    """A lasting change of the step time."""

    run: str
    """The first one after it."""
    previous: str
    """The last one before it, on the same machine."""
    ratio: Estimate
    """The segment's step time over that of the one before."""


class Series(msgspec.Struct, frozen=True):
    """All runs of one machine."""

    machine: str
    runs: int
    noise: float | None
    """The standard deviation between runs, as a share; null from too few runs to look for changes in."""
    segments: tuple[Segment, ...]
    changes: tuple[Change, ...]
    """One between any two segments."""
    outliers: tuple[str, ...]
    """Runs whose step time lies far from that of their neighbours; the levels are those without them."""


def series_of(times: Sequence[RunTime]) -> tuple[Series, ...]:
    """The runs by machine, in order of each machine's first, with the changes on each.

    Args:
        times: in order of time.
    """
    machines = dict.fromkeys(time.machine for time in times)
    return tuple(_series(machine, [time for time in times if time.machine == machine]) for machine in machines)


def _series(machine: str, times: Sequence[RunTime]) -> Series:
    raw = levels = [statistics.fmean(time.logs) for time in times]
    noise, points = None, []
    if len(raw) >= FEWEST_RUNS:
        noise = noise_between(raw)
        levels = without_outliers(raw, noise)
        points = _proved(levels, change_points(levels, noise))
    bounds = list(itertools.pairwise([0, *points, len(levels)]))
    return Series(
        machine=machine,
        runs=len(levels),
        noise=noise,
        segments=tuple(
            Segment(times[start].run, times[end - 1].run, end - start, _estimate(levels[start:end]))
            for start, end in bounds
        ),
        changes=tuple(
            Change(times[point].run, times[point - 1].run, ratio)
            for point, ratio in zip(points, _ratios(levels, points), strict=True)
        ),
        outliers=tuple(time.run for time, was, level in zip(times, raw, levels, strict=True) if was != level),
    )


def _proved(levels: Sequence[float], points: list[int]) -> list[int]:
    """Without those whose change may be none, the smallest first: between three runs and three much is chance."""
    ratios = _ratios(levels, points)
    doubtful = [
        (abs(math.log(ratio.value)), point)
        for point, ratio in zip(points, ratios, strict=True)
        if ratio.low is None or ratio.high is None or ratio.low <= 1 <= ratio.high
    ]
    if not doubtful:
        return points
    _, least = min(doubtful)
    return _proved(levels, [point for point in points if point != least])


def _ratios(levels: Sequence[float], points: Sequence[int]) -> list[Estimate]:
    """By how much the level changes at each point, from the runs up to the points beside it."""
    sides = zip([0, *points], points, [*points[1:], len(levels)], strict=False)
    return [ratio_between(levels[before:point], levels[point:after]) for before, point, after in sides]


def _estimate(logs: Sequence[float]) -> Estimate:
    found = from_logs(logs)
    assert found is not None, "a segment has runs"
    return found


def noise_between(levels: Sequence[float]) -> float:
    """The standard deviation between runs, from the median absolute difference of successive ones.

    A few changes and outliers are in few of the differences, so they hardly count.
    """
    differences = [abs(after - before) for before, after in itertools.pairwise(levels)]
    return max(LEAST_NOISE, statistics.median(differences) / (_NORMAL_MEDIAN * math.sqrt(2)))


def without_outliers(levels: Sequence[float], noise: float) -> list[float]:
    """The levels, with outliers replaced by the median of the five runs around them.

    A Hampel filter (Pearson, IEEE Transactions on Control Systems Technology 10, 2002). Levels that last three runs
    stay as they are, at the ends of the series too, where the five are the first or the last.
    """
    starts = [min(max(0, i - WINDOW // 2), len(levels) - WINDOW) for i in range(len(levels))]
    medians = [statistics.median(levels[start : start + WINDOW]) for start in starts]
    return [
        median if abs(level - median) > OUTLYING * noise else level
        for level, median in zip(levels, medians, strict=True)
    ]


def change_points(levels: Sequence[float], noise: float) -> list[int]:
    """The positions at which a new level begins.

    Found exactly, by optimal partitioning, as the segmentation with the least sum of squares in units of ``noise`` plus
    a penalty a segment (Jackson et al., IEEE Signal Processing Letters 12, 2005); PELT (Killick, Fearnhead and Eckley,
    Journal of the American Statistical Association 107, 2012) finds the same one. The tests compare it with that of
    the package ruptures, which takes longer to import than a history may take.

    Args:
        levels: at least :data:`FEWEST_RUNS`.
        noise: their standard deviation about their level.
    """
    import numpy as np

    count, ends = len(levels), np.arange(len(levels) + 1)
    values = (np.array(levels) - statistics.fmean(levels)) / noise
    sums = np.concatenate([[0.0], np.cumsum(values)])
    # The least sum of squares is the largest sum over segments of the square of their sum over their length.
    best = np.full(count + 1, -np.inf)
    best[0] = 0.0
    starts = [0] * (count + 1)
    for end in range(SEGMENT, count + 1):
        last = end - SEGMENT + 1
        gains = best[:last] + (sums[end] - sums[:last]) ** 2 / (end - ends[:last])
        starts[end] = int(gains.argmax())
        best[end] = gains[starts[end]] - PENALTY * math.log(count)
    found = [starts[count]]
    while found[-1]:
        found.append(starts[found[-1]])
    return found[-2::-1]
