"""How the loss falls in the trainings of the verification, seed by seed, against the reference's."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepbench.judge.training import final_loss
from stepbench.judge.verify import anchor_of
from stepbench.records.verify import Curve
from stepbench.report import formats
from stepbench.report.html.figures.canvas import (
    GREY,
    MUTED,
    PX,
    SMALL,
    TEXT,
    add_axes,
    is_narrow,
    linear_axis,
    shortened,
    write_at,
)
from stepbench.report.html.figures.groups import CaseGroup
from stepbench.report.html.figures.marks import marks
from stepbench.report.html.figures.plot import Plot

MOST_PANELS = 12
PANEL, GAP = 190.0, 56.0
LEFT, BETWEEN, RIGHT = 44.0, 36.0, 16.0
WINDOW_SHARE = 30
"""A curve is smoothed over this part of its steps: losses of single batches jump."""
FEWEST_POINTS = 120
"""Drawn of a long training, at least."""


@dataclass(frozen=True)
class CaseTrainings:
    """The trainings of one case: at each drawn step the mean, least and greatest over seeds of the smoothed loss."""

    label: str
    colour: str
    seeds: int
    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    final: float | None
    """The mean over seeds of the final loss; none where a training diverged."""


def losses(group: CaseGroup) -> list[Plot]:
    """The figure, if any case was trained."""
    mark_of = marks(group.cases)
    by_case = {measurement.case: measurement for measurement in group.measurements.values()}
    anchors = [anchor_of(case, by_case) for case in by_case]
    anchored = {anchor.case.id for anchor in anchors if anchor and anchor.curves}
    having = [case for case in group.cases if any(map(_smoothed, group.measurements[case.id].curves))]
    trained = {
        case.id: _trained(group.label(case), mark_of[case.id].colour, group.measurements[case.id].curves)
        for case in having
    }
    panels = []
    for case in having:
        anchor = anchor_of(group.measurements[case.id].case, by_case)
        if case.id not in anchored:
            panels.append((trained[case.id], trained.get(anchor.case.id) if anchor else None))
    # Where nothing but the reference was trained, it is worth seeing alone.
    panels = panels or [(trained[case.id], None) for case in having]
    if not panels:
        return []
    panels = panels[:MOST_PANELS]
    spoken = "; ".join(_spoken(*panel) for panel in panels)
    plot = Plot(
        name=f"losses-{group.name}",
        title=f"Training loss: {group.title}",
        caption="In colour the variant, in grey and dashed the float32 reference. Lines are means "
        "over seeds, bands reach from the least to the greatest seed; each curve is a running mean. The variant "
        "should run inside the grey band: that far the reference itself moves when only the seed changes. Cases "
        "without a panel inherit their verdict from one that has, as their steps are equal up to rounding.",
        alternative=f"Final training losses, means over seeds. {spoken}.",
        heads=("case", "seeds", "steps", "final loss, mean", "final loss, each seed"),
        rows=[_row(trained[case.id], group.measurements[case.id].curves) for case in having],
        draw=functools.partial(_draw, panels),
    )
    return [plot]


def _trained(label: str, colour: str, curves: Sequence[Curve]) -> CaseTrainings:
    smoothed = [_smoothed(curve) for curve in curves]
    length = max(map(len, smoothed))
    stride = max(1, length // FEWEST_POINTS)
    steps = range(length - 1, -1, -stride)[::-1]
    at = [[values[step] for values in smoothed if step < len(values)] for step in steps]
    finite = [curve for curve in curves if _is_finite(curve)]
    return CaseTrainings(
        label,
        colour,
        len(curves),
        [step + 1 for step in steps],
        [statistics.fmean(found) for found in at],
        [min(found) for found in at],
        [max(found) for found in at],
        statistics.fmean(map(final_loss, finite)) if len(finite) == len(curves) else None,
    )


def _is_finite(curve: Curve) -> bool:
    return bool(curve.losses) and None not in curve.losses


def _smoothed(curve: Curve) -> list[float]:
    """The mean over the last steps of those before a loss that is not finite."""
    values = [loss for loss in curve.losses if loss is not None]
    window = max(1, len(values) // WINDOW_SHARE)
    total, smoothed = 0.0, []
    for step, value in enumerate(values):
        total += value - (values[step - window] if step >= window else 0.0)
        smoothed.append(total / min(step + 1, window))
    return smoothed


def _spoken(mine: CaseTrainings, reference: CaseTrainings | None) -> str:
    text = f"{mine.label} {_final(mine)} over {mine.seeds} seeds"
    return f"{text}, reference {reference.label} {_final(reference)}" if reference else text


def _final(trained: CaseTrainings) -> str:
    return "not finite" if trained.final is None else f"{trained.final:.3f}"


def _row(trained: CaseTrainings, curves: Sequence[Curve]) -> tuple[str, ...]:
    each = ", ".join(f"{final_loss(curve):.3f}" if _is_finite(curve) else "not finite" for curve in curves)
    return trained.label, str(trained.seeds), str(max(len(curve.losses) for curve in curves)), _final(trained), each


def _draw(panels: Sequence[tuple[CaseTrainings, CaseTrainings | None]], width: float) -> Figure:
    columns = 1 if is_narrow(width) else min(3, max(2, len(panels)))
    lines = -(-len(panels) // columns)
    figure = Figure((width * PX, lines * (PANEL + GAP) * PX), dpi=1 / PX)
    each = (width - LEFT - BETWEEN * (columns - 1) - RIGHT) / columns
    drawn = [trained for panel in panels for trained in panel if trained]
    low, high = min(min(one.low) for one in drawn), max(max(one.high) for one in drawn)
    for number, (mine, reference) in enumerate(panels):
        line, column = divmod(number, columns)
        left, top = LEFT + column * (each + BETWEEN), line * (PANEL + GAP) + 22
        write_at(figure, left, top - 8, shortened(mine.label), fontsize=TEXT, fontweight="bold")
        axes = add_axes(figure, left, top, each, PANEL - 12)
        if reference:
            _draw_trained(axes, reference, GREY, dashed=True)
        _draw_trained(axes, mine, mine.colour, dashed=False)
        linear_axis(axes, 0, max(one.steps[-1] for one in drawn), "steps")
        linear_axis(axes, max(0.0, low * 0.95), high, "training loss" if not column else "", vertical=True)
        _note_end(axes, mine, reference)
    return figure


def _draw_trained(axes: Axes, trained: CaseTrainings, colour: str, *, dashed: bool) -> None:
    axes.fill_between(trained.steps, trained.low, trained.high, color=colour, alpha=0.22, linewidth=0)
    axes.plot(trained.steps, trained.mean, color=colour, linewidth=1.6, linestyle=(0, (4, 2)) if dashed else "-")


def _note_end(axes: Axes, mine: CaseTrainings, reference: CaseTrainings | None) -> None:
    """Say in figures what the curves end at."""
    texts = [f"{_final(mine)}, {mine.seeds} seeds"]
    if reference:
        texts.append(f"reference {_final(reference)}, {reference.seeds} seeds")
    for line, (text, colour) in enumerate(zip(texts, (mine.colour, MUTED), strict=False)):
        written = axes.text(0.99, 0.98 - 0.09 * line, formats.plain(text), transform=axes.transAxes)
        written.set(ha="right", va="top", fontsize=SMALL, color=colour)
