"""Intervals of several means at once, which borrow their spread from each other: the moderated t statistic.

Of two or three processes a variance is hardly known. Those of the cases of one run are alike, though, so what all of
them show says something of each: a variance is drawn towards what is common, as far as the variances themselves are
seen to agree (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004). Here the cases are few, and
their ratios share a reference, so two things are more careful than there: the degrees of freedom that are borrowed
are no more than correlated variances hold, and no variance is taken to be less than the case's own.
``tests/judge/test_moderated.py`` simulates what comes of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stepbench.judge.statistics import CONFIDENCE, Estimate, log_estimate, paired_logs, standard_deviation
from stepbench.records.cases import Case
from stepbench.records.run import Measurement

SHARED = 0.25
"""The squared correlation of two ratios with a common reference that spreads as much as they do."""
ASYMPTOTIC = 8.0
"""From here on the series of the polygamma functions are good to ten digits."""

KeyT = TypeVar("KeyT")


@dataclass(frozen=True)
class Prior:
    """What several variances say of one more like them."""

    variance: float
    degrees: float
    """As many degrees of freedom it is worth; infinite where they differ by no more than chance."""
    most: float
    """Degrees of freedom that all of them hold together."""


NOTHING = Prior(0.0, 0.0, 0.0)
"""What one alone has to borrow."""


def speedups(
    measurements: Sequence[Measurement], reference: Measurement, confidence: float = CONFIDENCE
) -> dict[Case, Estimate]:
    """How many times faster than the reference, or than any one case, each is: of those that share a round with it."""
    logs = {found.case: paired_logs(found, reference) for found in measurements}
    return estimates({case: found for case, found in logs.items() if found}, confidence)


def estimates(logs: Mapping[KeyT, Sequence[float]], confidence: float = CONFIDENCE) -> dict[KeyT, Estimate]:
    """The estimate of each of several positive quantities from logarithms of it, one a replicate."""
    prior = prior_of(logs.values())
    return {
        key: log_estimate(statistics.fmean(values), *spread_of(values, prior), confidence)
        for key, values in logs.items()
    }


def spread_of(values: Sequence[float], prior: Prior, assumed: Prior = NOTHING) -> tuple[float, int]:
    """The standard deviation of the mean of one sample, and its degrees of freedom.

    Args:
        values: the sample.
        prior: what others lend.
        assumed: what is known whatever the samples say.
    """
    degrees = len(values) - 1
    own = standard_deviation(values) ** 2 if degrees else 0.0
    # What does not spread at all, as the reference against itself, has nothing to learn from what does.
    borrowed = max(0.0, min(prior.degrees, prior.most - degrees)) if own else 0.0
    known = assumed.degrees + borrowed + degrees
    shared = assumed.degrees * assumed.variance + borrowed * prior.variance + degrees * own
    return math.sqrt(max(own, shared / known if known else 0.0) / len(values)), int(known)


def prior_of(samples: Iterable[Sequence[float]]) -> Prior:
    """What several samples say of the variance of one more like them."""
    known = [(standard_deviation(values) ** 2, len(values) - 1) for values in samples if len(values) > 1]
    return prior_of_variances(known)


def prior_of_variances(samples: Sequence[tuple[float, int]]) -> Prior:
    """What variances, each with its degrees of freedom, say of one more like them (Smyth 2004, section 6.2)."""
    spread = [(variance, degrees) for variance, degrees in samples if variance > 0]
    if len(spread) < 2:  # noqa: PLR2004 - one is compared with none.
        return NOTHING
    logs = [math.log(variance) - digamma(degrees / 2) + math.log(degrees / 2) for variance, degrees in spread]
    by_chance = statistics.fmean(trigamma(degrees / 2) for _, degrees in spread)
    excess = statistics.variance(logs) - by_chance
    most = sum(degrees for _, degrees in spread) / (1 + (len(spread) - 1) * SHARED)
    if excess <= 0:
        return Prior(math.exp(statistics.fmean(logs)), math.inf, most)
    half = inverse_trigamma(excess)
    return Prior(math.exp(statistics.fmean(logs) + digamma(half) - math.log(half)), 2 * half, most)


def digamma(x: float) -> float:
    """The derivative of the logarithm of the gamma function, for x > 0 (Abramowitz and Stegun, 6.3.5 and 6.3.18)."""
    below = 0.0
    while x < ASYMPTOTIC:
        below -= 1 / x
        x += 1
    return below + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6) + 1 / (240 * x**8)


def trigamma(x: float) -> float:
    """The derivative of that, which falls from infinity to zero (ibidem, 6.4.6 and 6.4.12)."""
    below = 0.0
    while x < ASYMPTOTIC:
        below += 1 / x**2
        x += 1
    return below + 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7) - 1 / (30 * x**9)


def inverse_trigamma(value: float) -> float:
    """Where the trigamma function is ``value`` > 0, by bisection of the logarithm."""
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if trigamma(math.exp(middle)) > value else (low, middle)
    return math.exp(low)
