"""A race as people read it: what to use, how to have it, who left when and why."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from stepbench.report import formats
from stepbench.report.blocks import BOLD, DIM, Block, Chapters, Commands, Paragraph, text_table
from stepbench.report.tuned import Tuned

MOST_TIES = 8
"""Named in a sentence."""


def chapters(found: Tuned) -> Chapters:
    """What to use, how to have it, what each change is worth, who left."""
    return [
        [Paragraph(headline(found), list(_points(found)), BOLD)],
        *([_how(found)] if found.apply.env or found.apply.python else []),
        *([[_worth(found)]] if found.worth else []),
        *([[_left(found)]] if found.eliminated else []),
    ]


def headline(found: Tuned) -> str:
    """What to use."""
    winner = found.winner
    if winner.id == found.default.id:
        return f"{winner.id}: what there is is not beaten by any of {found.measured} candidates"
    speed = formats.estimate(winner.speedup, unit="×") if winner.speedup else "not measured again, not known how"
    return f"{winner.id}: {speed} as fast as {found.default.id}, {winner.equivalence.verdict.replace('_', ' ')}"


def _points(found: Tuned) -> Iterator[str]:
    winner = found.winner
    if winner.step_time_s:
        again = ", measured again after the race" if winner.id != found.default.id else ""
        yield f"{formats.estimate(winner.step_time_s, scale=1e3)} ms a step{again}"
    if found.challenger:
        speed = formats.estimate(found.challenger.speedup, unit="×")
        yield f"{found.challenger.id} won the race, but was {speed} as fast when measured again: not shown to be faster"
    yield from (f"convergence: {why}" for why in winner.equivalence.why)
    if found.ties:
        more = f" and {len(found.ties) - MOST_TIES} more" if len(found.ties) > MOST_TIES else ""
        yield f"not shown to be slower in the time there was: {', '.join(found.ties[:MOST_TIES])}{more}"
    if not found.finished:
        yield f"the race is unfinished: continue it with 'stepbench tune --resume {found.run_id}'"
    yield (
        f"{found.measured} of {found.candidates} candidates measured in {formats.seconds(found.spent_s)}, "
        f"of a budget of {formats.seconds(found.budget_s)}"
    )


def _how(found: Tuned) -> list[Block]:
    variables = [f"export {name}={shlex.quote(value)}" for name, value in found.apply.env.items()]
    blocks: list[Block] = []
    for where, lines in (("before Python is started", variables), ("in Python", found.apply.python.splitlines())):
        blocks += [Paragraph(f"How to have it, {where}:"), Commands(lines)] if lines else []
    return [*blocks, Paragraph("To measure it once more: stepbench run --tuned", style=DIM)]


def _worth(found: Tuned) -> Block:
    rows = [(one.stage, one.change, f"{formats.ratio(one.ratio)}×", str(one.pairs)) for one in found.worth]
    heads = ("factor", "change", "times as fast", "candidates")
    return text_table(heads, rows, heads[:2], title="What each change is worth, all else equal", name="worth")


def _left(found: Tuned) -> Block:
    rows = [(one.id, formats.seconds(one.after_s), one.why) for one in found.eliminated]
    heads = ("candidate", "after", "why")
    return text_table(heads, rows, ("candidate", "why"), title="Who left the race", name="left")
