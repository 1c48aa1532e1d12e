"""Outside the workers: base and head measured in turn, pair of fresh processes by pair, until each case is decided."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stepbench.engine.pool import Pool
from stepbench.engine.rounds import MAX_TEAM, chunks, prepare
from stepbench.engine.worker import WorkerError
from stepbench.engine.worktrees import Checkout
from stepbench.judge.gate import companies, is_decided
from stepbench.judge.proof import judge_block, judge_start
from stepbench.probes.meter import LoadMeter
from stepbench.records.cases import Case, Plan
from stepbench.records.gate import Broken, Disturbance, GateCase, GateSettings, Pair, Quad, SideFacts, SideName
from stepbench.records.progress import Progress, Tell, untold
from stepbench.records.protocol import Close, Measure
from stepbench.records.run import Closing, Evidence, Failure, FailureKind, Phases

BLOCK_S = 0.01
"""One call, mostly. The machine's noise comes in spells of a tenth of a second and longer, which a quad of short blocks
lies within: see ``bench/quads.py``."""
QUADS_S = 4.0
"""Of quads of each case in one pair of processes."""
FEWEST_QUADS = 6
MACHINES_FAULTS = (FailureKind.CRASH, FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT)
"""Failures of a process that need not be the revision's."""
ORDERS = (
    (SideName.BASE, SideName.HEAD, SideName.HEAD, SideName.BASE),
    (SideName.HEAD, SideName.BASE, SideName.BASE, SideName.HEAD),
)


@dataclass(frozen=True)
class Seat:
    """The place of one worker: a case on one side."""

    case: Case
    side: SideName

    def __str__(self) -> str:
        return f"{self.case.id}/{self.side}"


Sides = Mapping[SideName, Checkout]


def measure_pairs(
    plan: Plan,
    sides: Sides,
    settings: GateSettings,
    logs: Path,
    keep: Callable[[GateCase], None],
    tell: Tell = untold,
    *,
    slowdown: float = 0.0,
) -> tuple[GateCase, ...]:
    """Measure pairs of processes until every case is decided, or the time is up.

    Args:
        plan: what to measure of both sides; where its files lie in the user's own tree.
        sides: the two revisions.
        settings: when a case is decided.
        logs: the folder for the workers' output.
        keep: given each case whenever a pair of it is done, to write it down.
        tell: told how far it is.
        slowdown: planted in head, as a share of each call's time.
    """
    cases = plan.cases
    known = {case: GateCase(case) for case in cases}
    measured = functools.partial(_measured, _Setup(plan, sides, slowdown, logs))
    ends = time.monotonic() + settings.budget_s
    longest = 0.0
    for number in range(settings.pairs):
        parts = zip(known.values(), companies(tuple(known.values())), strict=True)
        live = [found.case for found, company in parts if not is_decided(found, settings, company)]
        for team in chunks(live, MAX_TEAM // 2):
            # Each case is looked at once, however short the time is; no pair is begun that the time will cut short.
            if number and time.monotonic() + longest > ends:
                return tuple(known.values())
            started = time.monotonic()
            tell(Progress(number, settings.pairs, f"pair {number + 1} of {', '.join(case.id for case in team)}"))
            for found in measured(team, number):
                known[found.case] = _added(known[found.case], found)
                keep(known[found.case])
            longest = max(longest, time.monotonic() - started)
    return tuple(known.values())


@dataclass(frozen=True)
class _Setup:
    """What all pairs of a gate have in common."""

    plan: Plan
    sides: Sides
    slowdown: float
    logs: Path


def _measured(setup: _Setup, team: Sequence[Case], number: int) -> Iterator[GateCase]:
    """One pair of each case; what failed as the machine alone can make it fail is tried once more, by itself."""
    for found in _TeamPair(setup, team, number).run():
        if found.broken and found.broken.failure.kind in MACHINES_FAULTS:
            yield from _TeamPair(setup, [found.case], number).run()
        else:
            yield found


def _added(known: GateCase, found: GateCase) -> GateCase:
    return GateCase(known.case, (*known.pairs, *found.pairs), found.broken)


@dataclass
class _Taken:
    """What a worker has given so far."""

    phases: Phases | None = None
    evidence: Evidence | None = None
    closing: Closing | None = None
    imported: tuple[str, ...] | None = None
    calls: int = 0
    blocks: list[float] = field(default_factory=list)


class _TeamPair:
    """One pair of processes of each of some cases, all resident, one computing at a time."""

    def __init__(self, setup: _Setup, cases: Sequence[Case], number: int) -> None:
        self._setup = setup
        self._cases = list(cases)
        self._number = number
        self._random = random.Random(f"{setup.plan.seed}/{number}")  # noqa: S311 - it shuffles.
        self._taken = {Seat(case, side): _Taken() for case in cases for side in SideName}
        self._broken: dict[Case, Broken] = {}
        self._quads: dict[Case, list[Quad]] = {case: [] for case in cases}
        self._spent = dict.fromkeys(cases, 0.0)

    def run(self) -> Iterator[GateCase]:
        """Measure, and give each case with its pair, or with the side that broke."""
        started = time.monotonic()
        meter = LoadMeter()
        with Pool[Seat](self._setup.logs, forks=self._setup.plan.forks, is_timed=True) as pool:
            for action in (self._start, self._greet, self._prepare):
                pool.each(self._live(), functools.partial(action, pool), self._fail)
            while case := self._due():
                began = time.monotonic()
                self._time_quad(pool, case)
                self._spent[case] += time.monotonic() - began
            pool.each(self._live(), functools.partial(self._close, pool), self._fail)
        seconds = (time.monotonic() - started) / len(self._cases)
        load = meter.read()
        for case in self._cases:
            broken = self._broken.get(case)
            yield GateCase(case, () if broken else (self._pair(case, seconds, load),), broken)

    def _due(self) -> Case | None:
        """The case with the least time so far among those that need more quads; so all go on side by side."""
        due = [
            case
            for case in self._cases
            if case not in self._broken and (self._spent[case] < QUADS_S or len(self._quads[case]) < FEWEST_QUADS)
        ]
        return min(due, key=self._spent.__getitem__, default=None)

    def _live(self) -> Iterator[Seat]:
        seats = self._random.sample(list(self._taken), len(self._taken))
        return (seat for seat in seats if seat.case not in self._broken)

    def _fail(self, seat: Seat, failure: Failure) -> None:
        self._broken.setdefault(seat.case, Broken(seat.side, failure))

    def _start(self, pool: Pool[Seat], seat: Seat) -> None:
        checkout = self._setup.sides[seat.side]
        pool.start(seat, self._number, checkout.surroundings(seat.case.settings))

    def _greet(self, pool: Pool[Seat], seat: Seat) -> None:
        pool.greet(seat)

    def _prepare(self, pool: Pool[Seat], seat: Seat) -> None:
        checkout = self._setup.sides[seat.side]
        order = msgspec.structs.replace(
            prepare(checkout.plan(self._setup.plan), seat.case),
            block_seconds=BLOCK_S,
            slowdown=self._setup.slowdown if seat.side is SideName.HEAD else 0.0,
            root=str(checkout.root),
            elsewhere=str(checkout.elsewhere or ""),
        )
        reply, _ = pool.ask(seat, order, self._setup.plan.timeout_s)
        if failure := judge_start(seat.case, reply.evidence):
            raise WorkerError(failure)
        taken = self._taken[seat]
        taken.phases, taken.evidence, taken.calls = reply.phases, reply.evidence, reply.calls

    def _time_quad(self, pool: Pool[Seat], case: Case) -> None:
        order = self._random.choice(ORDERS)
        for side in order:
            if case not in self._broken:
                pool.each([Seat(case, side)], functools.partial(self._time_block, pool), self._fail)
        if case not in self._broken:
            base, head = (self._taken[Seat(case, side)].blocks[-2:] for side in SideName)
            self._quads[case].append(Quad((base[0], base[1]), (head[0], head[1])))

    def _time_block(self, pool: Pool[Seat], seat: Seat) -> None:
        order = Measure(len(self._quads[seat.case]), self._calls(seat.case))
        reply, _ = pool.ask(seat, order, self._setup.plan.timeout_s)
        if failure := judge_block(reply.block):
            raise WorkerError(failure)
        self._taken[seat].blocks.append(reply.block.seconds / reply.block.steps)

    def _calls(self, case: Case) -> int:
        """In each block of either side: the first call of a block is slower, so both need as many that are not."""
        calls = [self._taken[Seat(case, side)].calls for side in SideName]
        return max(calls) if all(calls) else 0

    def _close(self, pool: Pool[Seat], seat: Seat) -> None:
        reply, _ = pool.ask(seat, Close(input_pipeline=False), self._setup.plan.timeout_s)
        pool.end(seat)
        self._taken[seat].closing, self._taken[seat].imported = reply.closing, reply.imported

    def _pair(self, case: Case, seconds: float, load: Disturbance) -> Pair:
        base, head = (_facts(self._taken[Seat(case, side)], self._setup.sides[side].changed) for side in SideName)
        return Pair(self._number, tuple(self._quads[case]), base, head, seconds, load)


def _facts(taken: _Taken, changed: Container[str]) -> SideFacts:
    assert taken.phases, "a side that is not broken was prepared"
    assert taken.evidence, "a side that is not broken was prepared"
    assert taken.closing, "a side that is not broken was closed"
    peak = taken.closing.device_peak_bytes
    resident = max(0, taken.closing.peak_rss_bytes - taken.closing.baseline_rss_bytes)
    # A run refuses a step that is traced again while it is timed; here that may be what base does too, or the finding.
    functions_traced = taken.evidence.traces + taken.closing.traces
    imported = None if taken.imported is None else sum(path in changed for path in taken.imported)
    return SideFacts(functions_traced, taken.phases.first_call_s, resident if peak is None else peak, imported)
