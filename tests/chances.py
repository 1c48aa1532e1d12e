"""Of events that happen by chance: how often, at most."""

from __future__ import annotations

import math


def quantile(probability: float, trials: int, rate: float) -> int:
    """The smallest number of events that is not exceeded with this probability."""
    odds = math.log(rate) - math.log1p(-rate)
    term = trials * math.log1p(-rate)
    total, count = math.exp(term), 0
    while total < probability:
        term += math.log((trials - count) / (count + 1)) + odds
        count += 1
        total += math.exp(term)
    return count


def most(rate: float, trials: int) -> int:
    """How often an event of that rate, or a rarer one, happens at most, with a chance of 99.9 %."""
    return quantile(0.999, trials, rate)
