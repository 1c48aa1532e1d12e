"""Estimates with intervals from replicated measurements.

The unit of inference is the replicate, one fresh process: blocks within a process share its memory layout and its
moment, so pooling them would give intervals that are far too narrow. Durations are compared by ratio, so all
averaging is done on logarithms.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import msgspec

from stepbench.records.run import Block, Measurement, Replicate

CONFIDENCE = 0.95
FEWEST_DEGREES = 2
"""Of freedom, of an interval's standard deviation."""
FEWEST_TO_DRAW_IN = 5


class Estimate(msgspec.Struct, frozen=True):
    """A value with its confidence interval; without bounds where replicates are too few for any."""

    value: float
    low: float | None
    high: float | None
    confidence: float = CONFIDENCE

    @property
    def relative_half_width(self) -> float | None:
        """The larger distance from the value to a bound, as a share of the value."""
        if self.low is None or self.high is None:
            return None
        return max(self.high - self.value, self.value - self.low) / self.value

    def times(self, factor: float) -> Estimate:
        """The estimate of this quantity multiplied by ``factor``."""
        low, high = (bound if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high, self.confidence)

    def inverse(self, numerator: float) -> Estimate:
        """The estimate of ``numerator`` divided by this quantity."""
        low = None if self.high is None else numerator / self.high
        high = None if self.low is None else numerator / self.low
        return Estimate(numerator / self.value, low, high, self.confidence)


def step_time(measurement: Measurement) -> Estimate | None:
    """Seconds a step: the mean over blocks, then over replicates, of logarithms, with a Student interval over these."""
    return from_logs(replicate_logs(measurement))


def replicate_logs(measurement: Measurement) -> list[float]:
    """The logarithm of the seconds a step of each replicate that timed any."""
    return [replicate_log(replicate) for replicate in measurement.replicates if replicate.blocks]


def replicate_log(replicate: Replicate) -> float:
    """The logarithm of the seconds a step of a replicate that timed some."""
    return mean_log([block.seconds / block.steps for block in replicate.blocks])


def mean_log(step_seconds: Sequence[float]) -> float:
    """What one replicate says: the Winsorized mean of the logarithms of its blocks' seconds a step."""
    return winsorized_mean([math.log(seconds) for seconds in step_seconds])


def speedup(measurement: Measurement, reference: Measurement, confidence: float = CONFIDENCE) -> Estimate | None:
    """How many times faster than the reference, or than any other case of its group, paired by round and by replicate.

    Within a replicate, the mean over rounds of the log ratio of the blocks of that round, which were timed within
    seconds of each other, so that the machine's drift cancels; over replicates, mean and Student interval. None when
    no round holds both.
    """
    return from_logs(paired_logs(measurement, reference), confidence)


def paired_logs(measurement: Measurement, reference: Measurement) -> list[float]:
    """The logarithm of how many times faster than the reference it was in each replicate that has rounds of both."""
    others = {replicate.number: replicate for replicate in reference.replicates}
    return [
        winsorized_mean(ratios)
        for replicate in measurement.replicates
        if replicate.number in others and (ratios := _log_ratios(others[replicate.number], replicate))
    ]


def winsorized_mean(values: Sequence[float], share: float = 0.0) -> float:
    """The mean after a share of five values or more, on either side, at least one, is drawn in to its neighbours.

    One hiccup of the machine then counts as no more than the next slowest block (Tukey and McLaughlin, Sankhya A 25,
    1963). Not a median: a machine that has two speeds, as virtual ones have, gives times in two clusters, and a median
    jumps from one to the other.
    """
    ordered = sorted(values)
    if len(ordered) >= FEWEST_TO_DRAW_IN:
        drawn = max(1, int(share * len(ordered)))
        ordered[:drawn] = [ordered[drawn]] * drawn
        ordered[-drawn:] = [ordered[-drawn - 1]] * drawn
    return statistics.fmean(ordered)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float | None, float | None]:
    """Mean and two-sided Student confidence bounds of independent values; no bounds from fewer than two."""
    mean = statistics.fmean(values)
    if len(values) < 2:  # noqa: PLR2004 - a spread takes two.
        return mean, None, None
    reach = t_quantile((1 + confidence) / 2, len(values) - 1) * standard_deviation(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def standard_deviation(values: Sequence[float]) -> float:
    """Of two values or more; ``statistics.stdev`` computes in fractions, which is exact and fifty times slower."""
    mean = statistics.fmean(values)
    return math.dist(values, [mean] * len(values)) / math.sqrt(len(values) - 1)  # It does not overflow midway.


@functools.lru_cache(maxsize=256)
def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """The quantile of Student's t distribution, for a probability of at least one half.

    Solved by bisection on the closed form of the distribution function for whole degrees of freedom (Abramowitz and
    Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4). SciPy has it too, but takes longer to import than a
    report may take.

    Raises:
        ValueError: for a probability outside [0.5, 1) or fewer than one degree of freedom.
    """
    if not 0.5 <= probability < 1 or degrees_of_freedom < 1:  # noqa: PLR2004 - the definition's own bounds.
        raise ValueError(f"No t quantile for probability {probability} and {degrees_of_freedom} degrees of freedom.")
    two_sided = 2 * probability - 1
    low, high = 0.0, math.pi / 2  # The angle arctan(t / sqrt(df)) has bounds, t has none.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _probability_within(middle, degrees_of_freedom) < two_sided else (low, middle)
    return math.tan(low) * math.sqrt(degrees_of_freedom)


def _probability_within(angle: float, degrees_of_freedom: int) -> float:
    """P(abs(T) <= t) at ``angle`` = arctan(t / sqrt(df))."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees_of_freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 + odd, degrees_of_freedom + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _log_step_seconds(block: Block) -> float:
    return math.log(block.seconds / block.steps)


def _log_ratios(reference: Replicate, replicate: Replicate) -> list[float]:
    """One a round that has blocks of both, of which the reference may have several."""
    theirs, mine = _by_round(reference), _by_round(replicate)
    return [
        statistics.fmean(theirs[number]) - statistics.fmean(logs) for number, logs in mine.items() if number in theirs
    ]


def _by_round(replicate: Replicate) -> dict[int, list[float]]:
    rounds: dict[int, list[float]] = {}
    for block in replicate.blocks:
        rounds.setdefault(block.round, []).append(_log_step_seconds(block))
    return rounds


def from_logs(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate | None:
    """The estimate of a positive quantity from one independent logarithm of it a replicate; None from none."""
    if not logs:
        return None
    degrees = len(logs) - 1
    deviation = standard_deviation(logs) / math.sqrt(len(logs)) if degrees else 0.0
    return log_estimate(statistics.fmean(logs), deviation, degrees, confidence)


def log_estimate(mean: float, deviation: float, degrees: int, confidence: float) -> Estimate:
    """The estimate from the mean of logarithms, the mean's standard deviation, and that one's degrees of freedom.

    Without bounds where these are too few: of one, as two processes have, Student's t is 13 deviations.
    """
    if degrees < FEWEST_DEGREES:
        return Estimate(exponential(mean), None, None, confidence)
    reach = t_quantile((1 + confidence) / 2, degrees) * deviation
    return Estimate(exponential(mean), exponential(mean - reach), exponential(mean + reach), confidence)


def exponential(log: float) -> float:
    """The number of that logarithm; infinity where it is too large for one, as stored files may have it."""
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf
