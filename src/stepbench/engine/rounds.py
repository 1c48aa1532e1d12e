"""Which case is measured when: replicates of fresh processes, rounds in random order, failures set apart."""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import msgspec

from stepbench.engine.pool import Pool
from stepbench.engine.worker import Surroundings, WorkerError
from stepbench.judge.proof import judge_block, judge_end, judge_start
from stepbench.records.cases import Case, Plan
from stepbench.records.progress import Progress, Tell, untold
from stepbench.records.protocol import Close, Measure, Prepare
from stepbench.records.run import (
    Block,
    BlockMeasured,
    CaseFailed,
    Failure,
    Measurement,
    ReplicateEnded,
    ReplicateStarted,
)
from stepbench.records.store import Journal

MAX_TEAM = 10
"""Workers that may be resident together: each holds TensorFlow, most of a GiB."""
REFERENCE_BLOCKS = 3
"""Blocks of the reference in a round. Its noise is in every comparison, so with k other cases it should be sampled
about √k times as often as each (Dunnett, Journal of the American Statistical Association 50, 1955)."""
FAIR_BLOCKS = 4
"""How many times as long as others a block may take; the case of a longer one sits rounds out."""
FIRST_ROUNDS = 2
"""Timed of every case: the shorter of two blocks is not the one that something else held up."""


@dataclass(frozen=True)
class Team:
    """Cases whose processes run interleaved: one replicate of each."""

    replicate: int
    cases: tuple[Case, ...]
    rounds: int


def remaining_teams(plan: Plan, measured: Sequence[Measurement]) -> tuple[Team, ...]:
    """What is left to measure, in order; a case that failed is not tried again.

    A team that was cut short is continued by fresh processes under a new replicate number, for the rounds that are
    missing: what was measured stays, and the process stays the unit of inference.
    """
    failed = {measurement.case for measurement in measured if measurement.failure}
    planned = tuple(line_ups(plan.cases)) * plan.replicates
    teams = []
    for index, cases in enumerate(planned):
        live = tuple(case for case in cases if case not in failed)
        known = {replicate.number for found in measured if found.case in live for replicate in found.replicates}
        attempts = {number for number in known if number % len(planned) == index}
        done = sum(_rounds_done(plan, measured, live, number) for number in attempts)
        if live and done < plan.rounds:
            number = max(attempts, default=index - len(planned)) + len(planned)
            teams.append(Team(number, live, plan.rounds - done))
    return tuple(teams)


def _rounds_done(plan: Plan, measured: Sequence[Measurement], live: Sequence[Case], number: int) -> int:
    """How many rounds of a replicate all of ``live`` finished, or sat out."""
    blocks = {
        found.case: replicate.blocks
        for found in measured
        for replicate in found.replicates
        if replicate.number == number
    }
    every = strides(plan, blocks)
    covered = (
        {block.round + more for block in blocks.get(case, ()) for more in range(every.get(case, 1))} for case in live
    )
    return len(set.intersection(*covered))


def strides(plan: Plan, blocks: Mapping[Case, Sequence[Block]]) -> dict[Case, int]:
    """In every which round each case is timed after the first ones, from its blocks in these.

    A block is one call at least. Where that takes far longer than a block should, and than the reference's (the
    fastest's, where that is not timed), as in a precision that the processor emulates, timing it in every round would
    take most of the time for the figure that needs it least.
    """
    first = {case: [block for block in found if block.round < FIRST_ROUNDS] for case, found in blocks.items()}
    took = {case: min(block.seconds for block in found) for case, found in first.items() if found}
    fastest = min(took.values(), default=0.0)
    every = {}
    for case, seconds in took.items():
        fair = FAIR_BLOCKS * max(plan.block_seconds, took.get(case.reference, fastest))
        is_one_call = all(block.steps == case.steps_per_call for block in first[case])
        every[case] = math.ceil(seconds / fair) if is_one_call else 1
    return every


def line_ups(cases: Sequence[Case]) -> Iterator[tuple[Case, ...]]:
    """Split cases into those measured interleaved: of one group, few enough to be resident, each with the reference."""
    for _, members in groupby(sorted(cases, key=lambda case: case.group), key=lambda case: case.group):
        group = tuple(members)
        reference = tuple(case for case in group if case == case.reference)
        others = [case for case in group if case != case.reference]
        room = MAX_TEAM - len(reference)
        for start in range(0, max(1, len(others)), room):
            yield (*reference, *others[start : start + room])


_Item = TypeVar("_Item")


def chunks(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
    """Split items, such as cases, into so many at a time, at most."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def prepare(plan: Plan, case: Case) -> Prepare:
    """The order to make a case ready."""
    return Prepare(case, plan.workloads[case.workload], plan.plugins, plan.data, plan.seed, plan.block_seconds)


def blocks_of_a_round(cases: Sequence[Case]) -> list[Case]:
    """The cases that a round times, as often as it does."""
    more = REFERENCE_BLOCKS - 1 if len(cases) > 1 else 0
    return [*cases, *(case for case in cases if case == case.reference for _ in range(more))]


def measure(
    plan: Plan,
    teams: Sequence[Team],
    journal: Journal,
    logs: Path,
    tell: Tell = untold,
    budget_s: float | None = None,
) -> None:
    """Measure ``teams`` one after the other and write each event to the journal.

    Args:
        plan: what was asked for.
        teams: what remains of it, from :func:`remaining_teams`.
        journal: takes the events; on disk before the next round begins.
        logs: the folder for the workers' output.
        tell: told how far it is.
        budget_s: about how long it may take; each team gets an equal share of what is left, and at least one round.

    Raises:
        StepbenchError: when workers cannot be forked any more, as the plan has it.
    """
    ends = None if budget_s is None else time.monotonic() + budget_s
    ticker = _Ticker(sum(len(blocks_of_a_round(team.cases)) * team.rounds for team in teams), tell)
    failed: set[Case] = set()
    measured: set[Case] = set()
    for index, team in enumerate(teams):
        live = [case for case in team.cases if case not in failed]
        now = time.monotonic()
        if not live or (ends is not None and now >= ends and measured.issuperset(live)):
            continue
        share = None if ends is None else now + (ends - now) / (len(teams) - index)
        with Pool[Case](logs, forks=plan.forks, is_timed=True) as pool:
            # Once is enough to know the share of time that waiting for input takes.
            times_input = plan.input_pipeline and not measured.issuperset(live)
            failed |= _TeamRun(plan, team, live, pool, journal, ticker).run(share, times_input=times_input)
        measured.update(live)


class _Ticker:
    """Counts blocks for those who are told how far it is."""

    def __init__(self, of_blocks: int, tell: Tell) -> None:
        self._blocks = 0
        self._of_blocks = of_blocks
        self._tell = tell

    def tick(self, doing: str, blocks: int = 0) -> None:
        self._blocks += blocks
        self._tell(Progress(self._blocks, self._of_blocks, doing))


class _TeamRun:
    """One team's processes, from start to end."""

    def __init__(
        self, plan: Plan, team: Team, live: Sequence[Case], pool: Pool[Case], journal: Journal, ticker: _Ticker
    ) -> None:
        self._plan = plan
        self._team = team
        self._live = list(live)
        self._failed: set[Case] = set()
        self._pool = pool
        self._journal = journal
        self._ticker = ticker
        self._first: dict[Case, list[Block]] = {}
        self._random = random.Random(f"{plan.seed}/{team.replicate}")  # noqa: S311 - it shuffles, it guards nothing.

    def run(self, deadline: float | None, *, times_input: bool) -> set[Case]:
        """Measure until the rounds are done or the time is up; give the cases that failed."""
        self._ticker.tick(f"replicate {self._team.replicate + 1}: starting {len(self._live)} workers")
        self._each(self._start)
        # All import TensorFlow side by side; nothing is timed until the last one has.
        self._each(self._pool.greet)
        self._each(self._prepare)
        for round_number in range(self._team.rounds):
            due = self._due(round_number)
            blocks = blocks_of_a_round(due)
            left_out = len(blocks_of_a_round(self._live)) - len(blocks)
            self._each(functools.partial(self._measure, round_number), blocks)
            self._ticker.tick(f"replicate {self._team.replicate + 1}", blocks=left_out)
            self._journal.sync()
            if deadline is not None and time.monotonic() >= deadline:
                break
        self._each(functools.partial(self._close, times_input))
        self._journal.sync()
        return self._failed

    def _start(self, case: Case) -> None:
        self._pool.start(case, self._team.replicate, Surroundings(settings=case.settings))

    def _due(self, round_number: int) -> list[Case]:
        if round_number < FIRST_ROUNDS:
            return self._live
        every = strides(self._plan, self._first)
        return [case for case in self._live if round_number % every.get(case, 1) == 0]

    def _each(self, action: Callable[[Case], None], cases: Sequence[Case] | None = None) -> None:
        """Do it for ``cases``, or every live case, in random order; a failure is its case's own."""
        cases = self._live if cases is None else cases
        shuffled = self._random.sample(cases, len(cases))
        self._pool.each((case for case in shuffled if case in self._live), action, self._fail)

    def _fail(self, case: Case, failure: Failure) -> None:
        self._live.remove(case)
        self._failed.add(case)
        self._journal.append(CaseFailed(case.id, self._team.replicate, failure))
        self._journal.sync()

    def _prepare(self, case: Case) -> None:
        plan = self._plan
        self._ticker.tick(f"warming up {case.id}")
        reply, _ = self._pool.ask(case, prepare(plan, case), plan.timeout_s)
        if failure := judge_start(case, reply.evidence):
            raise WorkerError(failure)
        self._journal.append(ReplicateStarted(case.id, self._team.replicate, reply.phases, reply.evidence))

    def _measure(self, round_number: int, case: Case) -> None:
        reply, leaked = self._pool.ask(case, Measure(round_number), self._plan.timeout_s)
        block = msgspec.structs.replace(reply.block, leaked_cpu_s=leaked)
        if round_number < FIRST_ROUNDS:
            self._first.setdefault(case, []).append(block)
        self._journal.append(BlockMeasured(case.id, self._team.replicate, block))
        self._ticker.tick(f"replicate {self._team.replicate + 1}: {case.id}", blocks=1)
        if failure := judge_block(block):
            raise WorkerError(failure)

    def _close(self, times_input: bool, case: Case) -> None:  # noqa: FBT001 - given by functools.partial.
        reply, _ = self._pool.ask(case, Close(times_input), self._plan.timeout_s)
        self._pool.end(case)
        self._journal.append(ReplicateEnded(case.id, self._team.replicate, reply.closing))
        if failure := judge_end(reply.closing):
            raise WorkerError(failure)
