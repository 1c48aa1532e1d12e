"""Why one case takes longer than another: the difference of their steps, accounted for by part and category."""

from __future__ import annotations

import msgspec

from stepbench.judge.breakdown import Breakdown, Category, Portion, base_kind


class Contribution(msgspec.Struct, frozen=True):
    """What one category of work in one part of the step adds to the difference; seconds a step."""

    part: str
    category: Category
    a_s: float
    b_s: float
    difference_s: float
    """Positive where B takes longer."""
    a_calls: float
    b_calls: float
    mostly: str
    """The type of operation that most of it is due to."""


class Explanation(msgspec.Struct, frozen=True):
    """The difference between the step times of A and B, in seconds; contributions and the rest add up to it."""

    difference_s: float
    """Of B's measured step time from A's: positive where A is faster."""
    contributions: tuple[Contribution, ...]
    """Largest first."""
    unexplained_s: float
    """The difference of the time in which compiled functions ran, but none of their operations."""
    traced_difference_s: float
    """The same difference as the traces alone tell it, with the profiler's cost in both."""


def explain(a: Breakdown, b: Breakdown) -> Explanation:
    """Account for the difference between two cases."""
    mine = {(portion.part, portion.category): portion for portion in a.portions}
    other = {(portion.part, portion.category): portion for portion in b.portions}
    contributions = [
        _contribution(part, category, mine.get((part, category)), other.get((part, category)))
        for part, category in dict.fromkeys((*mine, *other))
        if category is not Category.GAP
    ]
    gaps = b.by_category().get(Category.GAP, 0.0) - a.by_category().get(Category.GAP, 0.0)
    return Explanation(
        difference_s=b.step_s - a.step_s,
        contributions=tuple(sorted(contributions, key=lambda found: -abs(found.difference_s))),
        unexplained_s=gaps,
        traced_difference_s=b.traced_step_s - a.traced_step_s,
    )


def _contribution(part: str, category: Category, a: Portion | None, b: Portion | None) -> Contribution:
    empty = Portion(part, category, 0.0, 0.0, {})
    a, b = a or empty, b or empty
    kinds: dict[str, float] = {}
    for portion, sign in ((a, -1), (b, 1)):
        for kind, seconds in portion.kinds.items():
            kinds[base_kind(kind)] = kinds.get(base_kind(kind), 0.0) + sign * seconds
    mostly = max(kinds, key=lambda kind: abs(kinds[kind]), default="")
    difference_s = b.seconds - a.seconds
    return Contribution(part, category, a.seconds, b.seconds, difference_s, a.calls, b.calls, mostly)
