from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import faking
import msgspec
import pytest
from builders import (
    make_block,
    make_case,
    make_cases,
    make_closing,
    make_events,
    make_evidence,
    make_measurement,
    make_phases,
    make_plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import Memo

from stepbench.engine.rounds import MAX_TEAM, Team, line_ups, measure, remaining_teams, strides
from stepbench.records.cases import EAGER, Case, Device, Plan
from stepbench.records.progress import Progress
from stepbench.records.run import (
    Block,
    BlockMeasured,
    CaseFailed,
    Event,
    Failure,
    FailureKind,
    Measurement,
    ReplicateEnded,
    ReplicateStarted,
    assemble,
)

BROKEN = Failure(FailureKind.ERROR, "It broke.")


def carry_out(team: Team, cases: Sequence[Case] | None = None, rounds: int | None = None) -> list[Event]:
    """What the workers of ``team`` report, all or the first rounds of it."""
    cut = team.rounds if rounds is None else rounds
    return [
        event
        for case in (team.cases if cases is None else cases)
        for event in make_events(case, cut, team.replicate)[: None if rounds is None else -1]
    ]


def remaining(plan: Plan, events: Sequence[Event]) -> tuple[Team, ...]:
    return remaining_teams(plan, assemble(plan.cases, events))


@pytest.mark.parametrize("count", [1, 2, MAX_TEAM - 1, MAX_TEAM, MAX_TEAM + 1, 2 * MAX_TEAM - 1, 2 * MAX_TEAM, 95])
def test_line_ups_are_small_hold_the_reference_and_every_case_once(count: int) -> None:
    reference, *others = cases = make_cases(count)
    found = list(line_ups(cases))
    assert all(1 <= len(line_up) <= MAX_TEAM for line_up in found)
    assert all(line_up[0] == reference for line_up in found)
    assert [case for line_up in found for case in line_up[1:]] == others
    assert len(found) == max(1, -(-len(others) // (MAX_TEAM - 1)))


@pytest.mark.parametrize("count", [1, MAX_TEAM, MAX_TEAM + 1])
def test_line_ups_without_a_reference_are_full_of_others(count: int) -> None:
    cases = make_cases(count + 1)[1:]
    found = list(line_ups(cases))
    assert tuple(case for line_up in found for case in line_up) == cases
    assert [len(line_up) for line_up in found] == ([count] if count <= MAX_TEAM else [MAX_TEAM, count - MAX_TEAM])


def test_a_line_up_is_of_one_workload_device_and_batch_size() -> None:
    groups = [
        make_cases(3, workload=workload, device=device, batch_size=batch_size)
        for workload in ("one", "two")
        for device in Device
        for batch_size in (1, 64)
    ]
    shuffled = [case for cases in zip(*groups, strict=True) for case in cases]
    assert sorted(line_ups(shuffled)) == sorted(groups)


def test_steps_per_call_share_the_reference_of_one_step_a_call_and_no_cases_make_no_line_up() -> None:
    cases = (make_case(), make_case(steps_per_call=8), make_case(EAGER))
    assert list(line_ups(cases)) == [(cases[2], cases[0], cases[1])]
    assert list(line_ups(())) == []


def test_a_new_plan_has_every_replicate_of_every_line_up_in_turn() -> None:
    plan = make_plan(make_cases(12), replicates=3, rounds=5)
    teams = remaining(plan, [])
    assert [team.replicate for team in teams] == list(range(6)), "each team has a number of its own"
    assert {team.rounds for team in teams} == {5}
    for case in plan.cases[1:]:
        assert sum(case in team.cases for team in teams) == 3
    # A budget that runs out must leave every case with as many replicates as every other.
    teams = remaining(make_plan(make_cases(12), replicates=2), [])
    assert teams[0].cases == teams[2].cases != teams[1].cases == teams[3].cases


def test_nothing_is_measured_again_that_is_finished() -> None:
    plan = make_plan(make_cases(12), replicates=3, rounds=2)
    assert remaining(plan, [event for team in remaining(plan, []) for event in carry_out(team)]) == ()
    plan = make_plan(make_cases(3), replicates=3, rounds=2)
    first, *others = remaining(plan, [])
    assert remaining(plan, carry_out(first)) == tuple(others)


def test_an_interrupted_team_is_continued_for_the_rounds_that_not_all_cases_finished_under_a_new_number() -> None:
    plan = make_plan(make_cases(3), replicates=2, rounds=8)
    first, second = remaining(plan, [])
    continued, untouched = remaining(plan, carry_out(first, rounds=5))
    assert continued == Team(2, first.cases, 3)
    assert untouched == second
    plan = make_plan(make_cases(3), replicates=1, rounds=8)
    (team,) = remaining(plan, [])
    (again,) = remaining(plan, carry_out(team, rounds=0))
    assert again == Team(1, team.cases, 8)
    plan = make_plan(make_cases(3), replicates=1, rounds=8)
    (team,) = remaining(plan, [])
    ahead, *others = team.cases
    events = carry_out(team, [ahead], rounds=4) + carry_out(team, others, rounds=3)
    assert [team.rounds for team in remaining(plan, events)] == [5]


def test_a_team_interrupted_again_and_again_has_a_new_number_each_time() -> None:
    plan = make_plan(make_cases(3), replicates=2, rounds=8)
    events: list[Event] = []
    numbers = []
    for _ in range(4):
        team = remaining(plan, events)[0]
        numbers.append(team.replicate)
        events += carry_out(team, rounds=2)
    assert numbers == [0, 2, 4, 6]
    assert [team.replicate for team in remaining(plan, events)] == [1]


def test_what_failed_is_not_tried_again_and_leaves_the_others_what_they_lack() -> None:
    plan = make_plan(make_cases(3), replicates=2, rounds=4)
    teams = remaining(plan, [])
    failed = plan.cases[1]
    events = [*carry_out(teams[0]), CaseFailed(failed.id, 0, BROKEN)]
    assert remaining(plan, events) == (Team(1, (plan.cases[0], plan.cases[2]), 4),)
    plan = make_plan(make_cases(3), replicates=2, rounds=4)
    events = [CaseFailed(plan.cases[0].id, 0, BROKEN)]
    assert [team.cases for team in remaining(plan, events)] == [plan.cases[1:]] * 2
    plan = make_plan(make_cases(3), replicates=1, rounds=8)
    (team,) = remaining(plan, [])
    events = [*carry_out(team, rounds=3), CaseFailed(plan.cases[1].id, 0, BROKEN)]
    assert [(team.replicate, team.rounds) for team in remaining(plan, events)] == [(1, 5)]
    plan = make_plan(make_cases(12), replicates=2)
    assert remaining(plan, [CaseFailed(case.id, 0, BROKEN) for case in plan.cases]) == ()


def test_a_continued_team_never_reuses_a_number_that_only_a_failed_case_had_besides() -> None:
    # The first attempt was cut short when one case alone had started; that case failed in the second attempt.
    reference, unlucky = cases = make_cases(2)
    plan = make_plan(cases, replicates=1, rounds=8)
    (first,) = remaining(plan, [])
    events = carry_out(first, [unlucky], rounds=0)
    (second,) = remaining(plan, events)
    events += [*carry_out(second, rounds=3), CaseFailed(unlucky.id, second.replicate, BROKEN)]
    (third,) = remaining(plan, events)
    assert third.cases == (reference,)
    assert third.rounds == 5
    assert third.replicate not in {first.replicate, second.replicate}


@dataclass
class Rehearsal:
    """A run as the scheduler goes about it, without processes: killed and resumed, with cases that fail."""

    plan: Plan
    choose: st.DataObject
    events: list[Event] = field(default_factory=list)
    failed: set[Case] = field(default_factory=set)
    cut_within_a_round: bool = False

    def measured(self) -> tuple[Measurement, ...]:
        return assemble(self.plan.cases, self.events)

    def remaining(self) -> tuple[Team, ...]:
        return remaining_teams(self.plan, self.measured())

    def session(self, kill_after: int | None, failing: Case | None = None) -> None:
        """Carry out what remains, until the process is killed after so many events."""
        end = None if kill_after is None else len(self.events) + kill_after
        for team in self.remaining():
            live = [case for case in team.cases if case not in self.failed]
            for number in (None, *range(team.rounds)):
                for case in self.choose.draw(st.permutations(live)):
                    if len(self.events) == end:
                        self.cut_within_a_round = True  # Or at its edge, which asks for less.
                        return
                    self.step(team, case, number, failing, live)
            self.events += [ReplicateEnded(case.id, team.replicate, make_closing()) for case in live]

    def step(self, team: Team, case: Case, number: int | None, failing: Case | None, live: list[Case]) -> None:
        if case == failing and self.choose.draw(st.booleans()):
            self.events.append(CaseFailed(case.id, team.replicate, BROKEN))
            self.failed.add(case)
            live.remove(case)
        elif number is None:
            self.events.append(ReplicateStarted(case.id, team.replicate, make_phases(), make_evidence(case)))
        else:
            self.events.append(BlockMeasured(case.id, team.replicate, make_block(number)))

    def check(self) -> None:
        """No block is lost, and what is measured and what remains add up to what was planned."""
        ups = list(line_ups(self.plan.cases))
        teams = self.remaining()
        assert len({team.replicate for team in teams}) == len(teams)
        for measurement in self.measured():
            case = measurement.case
            written = [event for event in self.events if isinstance(event, BlockMeasured) and event.case == case.id]
            blocks = [block for replicate in measurement.replicates for block in replicate.blocks]
            assert len(blocks) == len(written), "no worker may overwrite what another measured"
            mine = [team for team in teams if case in team.cases]
            if case in self.failed:
                assert not mine
                continue
            planned = self.plan.replicates * self.plan.rounds * sum(case in line_up for line_up in ups)
            total = len(blocks) + sum(team.rounds for team in mine)
            assert total >= planned if self.cut_within_a_round else total == planned

    def paired_rounds(self, case: Case) -> int:
        """The rounds in which both ``case`` and its reference were timed."""
        by_case = {
            measurement.case: {
                (replicate.number, block.round) for replicate in measurement.replicates for block in replicate.blocks
            }
            for measurement in self.measured()
        }
        return len(by_case[case] & by_case[case.reference])


plans = st.builds(
    lambda sizes, replicates, rounds: make_plan(
        [case for batch_size, size in enumerate(sizes, 1) for case in make_cases(size, batch_size=batch_size)],
        replicates=replicates,
        rounds=rounds,
    ),
    st.lists(st.sampled_from([1, 2, 3, MAX_TEAM + 2]), min_size=1, max_size=2),
    st.integers(1, 3),
    st.integers(1, 4),
)


@settings(max_examples=20)
@given(st.data(), plans, st.lists(st.integers(0, 60), max_size=4))
def test_a_run_that_is_killed_anywhere_any_number_of_times_comes_to_all_that_was_planned(
    choose: st.DataObject, plan: Plan, kills: list[int]
) -> None:
    rehearsal = Rehearsal(plan, choose)
    rehearsal.check()
    for kill_after in kills:
        rehearsal.session(kill_after, failing=choose.draw(st.sampled_from([None, *plan.cases])))
        rehearsal.check()
    rehearsal.session(None)
    rehearsal.check()
    assert rehearsal.remaining() == ()
    assert kills or not rehearsal.cut_within_a_round
    for case in plan.cases:
        if not {case, case.reference} & rehearsal.failed:
            assert rehearsal.paired_rounds(case) >= plan.replicates * plan.rounds


@pytest.mark.parametrize(
    ("reference_s", "case_s", "every"),
    [(0.1, 0.1, 1), (0.1, 0.4, 1), (0.1, 0.41, 2), (0.1, 2.6, 7), (1.0, 2.6, 1), (0.001, 0.2, 1), (3.0, 0.1, 1)],
)
def test_a_case_far_slower_than_a_block_and_the_reference_sits_rounds_out(
    reference_s: float, case_s: float, every: int
) -> None:
    plan = make_plan(make_cases(2))
    reference, case = plan.cases
    assert strides(plan, {reference: blocks(reference_s), case: blocks(case_s)}) == {reference: 1, case: every}


def blocks(*seconds: float, steps: int = 1) -> list[Block]:
    return [make_block(number, found, steps=steps) for number, found in enumerate(seconds)]


def test_a_slow_model_alone_is_timed_in_every_round() -> None:
    plan = make_plan(make_cases(3)[1:])
    assert set(strides(plan, dict.fromkeys(plan.cases, blocks(3.0))).values()) == {1}


def test_a_case_that_was_held_up_once_or_whose_block_is_of_many_calls_is_not_slow() -> None:
    plan = make_plan(make_cases(4))
    reference, late, early, many = plan.cases
    seen = {
        reference: blocks(0.1, 0.1),
        late: blocks(0.1, 4.0, 9.0),
        early: blocks(4.0, 0.1),
        many: blocks(4.0, 4.0, steps=8),
    }
    assert set(strides(plan, seen).values()) == {1}


def test_rounds_that_a_slow_case_sits_out_are_neither_measured_nor_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faking.start_fakes(monkeypatch)
    reference, slow = cases = (make_case(EAGER), make_case("crawling"))
    plan = make_plan(cases, replicates=1, rounds=26, workloads={reference.workload: faking.WORKLOAD}, forks=True)
    kept, progress = Memo(), list[Progress]()
    measure(plan, remaining_teams(plan, ()), kept, tmp_path, progress.append)

    timed = {found.case: found.replicates[0].blocks for found in assemble(cases, kept.events)}
    assert [block.round for block in timed[slow]] == [0, 1, 25]
    assert {block.round for block in timed[reference]} == set(range(26))
    assert progress[-1].done == progress[-1].total
    assert remaining(plan, kept.events) == ()
    # Cut short after the first round, it is owed the rest, as all are.
    first = next(
        index for index, event in enumerate(kept.events) if isinstance(event, BlockMeasured) and event.block.round
    )
    assert [team.rounds for team in remaining(plan, kept.events[:first])] == [25]


def test_what_was_never_planned_is_not_asked_about() -> None:
    plan = make_plan(make_cases(2), replicates=1)
    stranger = make_measurement(make_case("stranger"), [0.1])
    assert remaining_teams(plan, [stranger]) == remaining_teams(plan, ())
    assert remaining_teams(plan, [msgspec.structs.replace(stranger, failure=BROKEN)]) == remaining_teams(plan, ())
