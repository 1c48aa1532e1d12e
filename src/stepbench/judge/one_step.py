"""Level 1: does one step of a variant do what the reference step does, up to honest rounding?"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Sequence

from stepbench.judge.statistics import mean_interval
from stepbench.records.verify import Agreement, Point, TensorError

MEDIAN_LIMIT = 10.0
"""Yardsticks that the median error over the points may have. Honest variants of the built-in workload reach 4."""
POINT_LIMIT = 100.0
"""Yardsticks that the error at any one point may have, or else one jump: rounding to zero and first Adam steps amplify,
and where a unit is tipped over, or another maximum is pooled, an error does not shrink with the rounding."""
LEAN_LIMIT = 2.0
"""Yardsticks that a tensor may be too long or too short on average: rounding may lean, though not far."""
LEAN_CONFIDENCE = 0.9999
"""Of the interval that must exclude that limit; many tensors are looked at."""
MOST_COMPLAINTS = 3

_PARTS = {
    "gradients": "gradient of {}",
    "changes": "change of {}",
    "updates": "update of {}",
    "slots": "optimizer variable {}",
    "statistics": "{}",
}


def complaints(agreement: Agreement) -> tuple[str, ...]:
    """What is wrong with a step, the worst first; nothing for an innocent one."""
    return complaints_of(agreement.points)


@functools.lru_cache(maxsize=1024)  # Every case asks it of every other that might be its twin.
def complaints_of(points: tuple[Point, ...]) -> tuple[str, ...]:
    """What is wrong with a step at some points, likewise."""
    if not points:
        return ()
    found = [_judge("loss", [point.loss for point in points], points)]
    for part, title in _PARTS.items():
        by_name: dict[str, list[tuple[TensorError, Point]]] = {}
        for point in points:
            for number, tensor in enumerate(getattr(point, part)):
                by_name.setdefault(f"{number}/{tensor.name}", []).append((tensor, point))
        for seen in by_name.values():
            tensors, where = zip(*seen, strict=True)
            found.append(_judge(title.format(tensors[0].name), tensors, where))
    worst = sorted((complaint for complaint in found if complaint), reverse=True)
    more = len(worst) - MOST_COMPLAINTS
    sentences = [sentence for _, sentence in worst[:MOST_COMPLAINTS]]
    return (*sentences, *([f"and {more} more tensor{'s' * (more > 1)}"] if more > 0 else []))


def agrees(agreement: Agreement | None) -> bool:
    """Whether the whole step was compared and found to differ by no more than rounding."""
    if agreement is None or agreement.not_comparable or not agreement.gradients_seen:
        return False
    return not complaints(agreement)


def _judge(title: str, tensors: Sequence[TensorError], points: Sequence[Point]) -> tuple[float, str] | None:
    """How bad it is, in yardsticks, and a sentence; None when it is fine."""
    for tensor, point in zip(tensors, points, strict=True):
        if tensor.error is None:
            return math.inf, f"{title} is NaN or infinite in the step after step {point.step}"
    ratios = [_ratio(tensor) for tensor in tensors]
    outlier = max(map(_outlier, tensors))
    badness = max(statistics.median(ratios) / MEDIAN_LIMIT, outlier, _lean(tensors) / LEAN_LIMIT)
    if badness <= 1:
        return None
    return badness, f"{title} {_describe(tensors, ratios)}"


def _ratio(tensor: TensorError) -> float:
    assert tensor.error is not None, "finite ones are judged"
    if tensor.yardstick:
        return tensor.error / tensor.yardstick
    return math.inf if tensor.error else 0.0


def _outlier(tensor: TensorError) -> float:
    """The error as a share of what one point may have."""
    assert tensor.error is not None, "finite ones are judged"
    allowed = max(POINT_LIMIT * tensor.yardstick, tensor.jump)
    if allowed:
        return tensor.error / allowed
    return math.inf if tensor.error else 0.0


def _lean(tensors: Sequence[TensorError]) -> float:
    """By how many yardsticks the tensor is proved to be too long or too short on average."""
    lengths = _finite(tensor.log_norm_ratio for tensor in tensors)
    if len(lengths) < len(tensors):
        return 0.0
    _, low, high = mean_interval(lengths, LEAN_CONFIDENCE)
    yardstick = statistics.median(tensor.yardstick for tensor in tensors)
    if low is None or high is None or not yardstick or math.isinf(yardstick):
        return 0.0
    return max(low, -high, 0.0) / yardstick


def _describe(tensors: Sequence[TensorError], ratios: Sequence[float]) -> str:
    over = [index for index, ratio in enumerate(ratios) if ratio > MEDIAN_LIMIT]
    where = "at all points" if len(over) == len(ratios) else f"at {len(over)} of {len(ratios)} points"
    if not over:
        where, over = "on average", list(range(len(ratios)))
    errors = _finite(tensors[index].error for index in over)
    lengths = _finite(tensors[index].log_norm_ratio for index in over)
    length = statistics.median(lengths) if lengths else 0.0
    # A wrong length explains an error of that size; a larger one is a matter of direction.
    if abs(length) > statistics.median(errors) / 2:
        return f"is {math.exp(length):#.4g}× as long as it should be {where}"
    times = statistics.median(ratios[index] for index in over)
    return f"is off by {statistics.median(errors):.2g} of its length {where}, {times:.3g}× what rounding does"


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]
