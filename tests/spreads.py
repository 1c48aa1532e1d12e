"""Replicates of cases whose truth is known, and how often intervals hold it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stepbench.judge.moderated import estimates

SEED = 20260103
DATA_SETS = 400
EQUAL, UNEQUAL = (1.0,) * 8, (0.4, 0.5, 0.6, 0.9, 1.1, 1.5, 2.0, 2.5)
"""Standard deviations of the cases' processes, as multiples of the usual one."""
KINDS = [(2, EQUAL, 1.0), (2, UNEQUAL, 1.0), (3, EQUAL, 3.0), (3, UNEQUAL, 1.0), (5, UNEQUAL, 0.3), (5, EQUAL[:3], 3.0)]
"""Replicates, cases, and the reference's spread."""


def drawn(
    generator: np.random.Generator, replicates: int, spreads: Sequence[float], reference: float
) -> list[list[float]]:
    """Logarithms of the ratios of cases that are truly as fast as their reference, whose noise they share."""
    shared = generator.normal(0, reference, replicates)
    return [list(map(float, shared - generator.normal(0, spread, replicates))) for spread in spreads]


def coverage(replicates: int, spreads: Sequence[float], reference: float, data_sets: int = DATA_SETS) -> list[float]:
    """Of each case the share of data sets whose interval holds the truth, which is a ratio of one."""
    generator = np.random.default_rng(SEED)
    held = np.zeros(len(spreads))
    for _ in range(data_sets):
        found = estimates(dict(enumerate(drawn(generator, replicates, spreads, reference))))
        held += [(one.low or 0.0) <= 1 <= (one.high or math.inf) for one in found.values()]
    return list(map(float, held / data_sets))
