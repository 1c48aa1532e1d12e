"""Which case takes which step of a verification, by fake workers: who trains for whom, what fails, what is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faking
import pytest
from builders import make_case, make_failed, make_plan

from stepbench.engine.verify import verify
from stepbench.judge.training import Verdict
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import MAX_SEED, Case, Verification
from stepbench.records.progress import Progress
from stepbench.records.run import Event, FailureKind, Measurement, assemble
from stepbench.records.store import LOGS_FOLDER, slug

SETTINGS = Verification(seeds=4, steps=90)
EAGER, GRAPH, XLA, HALF, OWN = (
    make_case(execution, precision, workload="tiny")
    for execution, precision in (
        ("eager", "float32"),
        ("graph", "float32"),
        ("xla", "float32"),
        ("graph", "mixed_bfloat16"),
        ("own", "float32"),
    )
)


@dataclass
class Verified:
    """Takes the events that a journal would, and tells what they come to."""

    cases: tuple[Case, ...]
    folder: Path
    events: list[Event] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    workload: str = faking.WORKLOAD
    seed: int = 0

    def append(self, event: Event) -> None:
        self.events.append(event)

    def sync(self) -> None:
        pass

    @property
    def measured(self) -> tuple[Measurement, ...]:
        return assemble(self.cases, self.events)

    def run(self) -> Verified:
        plan = make_plan(
            self.cases,
            workloads={"tiny": self.workload},
            verification=SETTINGS,
            timeout_s=20.0,
            seed=self.seed,
            forks=True,
        )
        verify(plan, self.measured, self, self.folder, self.progress.append)  # type: ignore[arg-type] # For a journal.
        return self

    def of(self, case: Case) -> Measurement:
        return next(found for found in self.measured if found.case == case)

    def verdict(self, case: Case) -> Verdict:
        return judge_cases(self.measured, SETTINGS)[case].verdict

    def trainings(self) -> Counter[Case]:
        return Counter({found.case: len(found.curves) for found in self.measured if found.curves})


def own(execution: str) -> Case:
    return make_case(execution, workload="tiny")


@pytest.fixture(scope="module", autouse=True)
def fake_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        faking.start_fakes(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Verified:
    return Verified((EAGER, GRAPH, XLA, HALF, OWN), tmp_path_factory.mktemp("whole")).run()


def test_the_anchor_and_those_that_differ_by_more_than_rounding_train_for_the_rest(whole: Verified) -> None:
    found = whole
    # The user's own step is spared the rest once a whole training is bit-identical to the anchor's.
    assert found.trainings() == {GRAPH: SETTINGS.seeds, HALF: SETTINGS.seeds, OWN: 1}
    seeds = [[curve.seed for curve in found.of(case).curves] for case in (GRAPH, HALF)]
    assert seeds == [list(range(SETTINGS.seeds))] * 2
    assert {found.verdict(case) for case in found.cases} == {Verdict.EQUIVALENT}
    assert not list(found.folder.glob(".trajectory-*"))
    assert all(len(curve.points) == 2 for case in found.trainings() for curve in found.of(case).curves)
    assert found.progress[-1].done == sum(found.trainings().values())
    logs = [path.name for path in (found.folder / LOGS_FOLDER).iterdir()]
    assert len(logs) == 1 + len(found.cases), "workers that compared steps go on to train"


def test_what_goes_wrong_is_its_cases_own(tmp_path: Path) -> None:
    wrong, crashing, raising, diverging, faulty, late = map(
        own, ("too-steep", "aborting", "raising-midway", "nan-midway", "faulty-midway", "wrong-midway")
    )
    found = Verified((GRAPH, HALF, wrong, crashing, raising, diverging, faulty, late), tmp_path).run()
    assert {found.verdict(case) for case in (wrong, diverging, faulty, late)} == {Verdict.DIFFERENT}
    assert found.verdict(HALF) is Verdict.EQUIVALENT
    failures = [found.of(case).verification_failure for case in (crashing, raising)]
    assert [failure and failure.kind for failure in failures] == [FailureKind.CRASH, FailureKind.ERROR]
    # None trains once it is decided: not at all what level 1 found wrong, not again where a fault was seen.
    trainings = found.trainings()
    assert [trainings[case] for case in (wrong, crashing, raising, diverging, faulty)] == [0, 0, 0, 1, 1]


def test_a_training_that_could_not_end_in_time_is_not_begun_and_the_others_begin_from_the_plans_seed(
    tmp_path: Path,
) -> None:
    crawling = own("crawling")
    found = Verified((GRAPH, HALF, crawling), tmp_path, seed=MAX_SEED - 1).run()
    failure = found.of(crawling).verification_failure
    assert failure
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.message.startswith("A training of 90 steps would take about 900 s and is given 110 s")
    assert crawling not in found.trainings()
    assert [curve.seed for curve in found.of(HALF).curves] == [MAX_SEED - 1, MAX_SEED, 0, 1]
    assert found.verdict(HALF) is Verdict.EQUIVALENT


def test_a_reference_that_is_lost_costs_its_comparisons_alone_which_is_said(tmp_path: Path) -> None:
    losing, after = own("losing"), own("own")
    found = Verified((GRAPH, HALF, losing, after), tmp_path).run()
    assert {found.verdict(case) for case in found.cases} == {Verdict.EQUIVALENT}
    curves = [curve for case in found.trainings() for curve in found.of(case).curves]
    lost = [curve for curve in curves if not curve.points]
    assert 0 < len(lost) < len(curves)
    assert {curve.not_recomputed for curve in lost} == {"RuntimeError: planted in the reference"}
    why = judge_cases(found.measured, SETTINGS)[HALF].why
    assert any("could not be recomputed as it trained: RuntimeError: planted" in sentence for sentence in why)


def test_a_verification_that_was_killed_midway_goes_on_with_what_all_cases_need(tmp_path: Path) -> None:
    whole = Verified((GRAPH, HALF, OWN), tmp_path / "whole").run()
    (tmp_path / "cut").mkdir()
    stale = tmp_path / "cut" / f".trajectory-{slug('tiny/cpu/b64')}"
    for cut in (1, 4):  # In level 1, and in level 2.
        again = Verified(whole.cases, tmp_path / "cut", list(whole.events[:cut])).run()
        assert again.trainings() == whole.trainings()
        assert all(curve.points for case in again.trainings() for curve in again.of(case).curves)
        stale.mkdir()
        (stale / "41").write_text("of whom it may have been")
    assert {found.verification_failure for found in again.measured} == {None}


def test_without_a_trajectory_no_case_is_verified_and_each_says_why(tmp_path: Path) -> None:
    found = Verified((EAGER, GRAPH), tmp_path, workload="lost.py:workload").run()
    failures = [measurement.verification_failure for measurement in found.measured]
    assert [failure and failure.message for failure in failures] == ["There is no file lost.py:workload."] * 2


def test_what_is_known_is_not_done_again(whole: Verified, tmp_path: Path) -> None:
    cut = whole.events[: len(whole.events) - 3]
    again = Verified(whole.cases, tmp_path / "cut", list(cut)).run()
    assert len(again.events) == len(whole.events)
    assert again.trainings() == whole.trainings()
    untouched = Verified(whole.cases, tmp_path / "untouched", list(whole.events)).run()
    assert untouched.events == whole.events
    assert not (tmp_path / "untouched" / LOGS_FOLDER / "reference.verify.log").exists()


def test_a_case_that_failed_is_not_verified(tmp_path: Path) -> None:
    failed = make_failed(GRAPH)
    plan = make_plan([GRAPH], workloads={"tiny": faking.WORKLOAD}, verification=SETTINGS)
    journal = Verified((GRAPH,), tmp_path)
    verify(plan, [failed], journal, tmp_path)  # type: ignore[arg-type]
    assert journal.events == []
