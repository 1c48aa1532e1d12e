"""What a gate does with pairs of processes, of fake workers, and with pairs that fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from builders import make_case, make_plan
from fake_worker import SLOWDOWN_FILE
from paired import make_broken, make_gate_case, noisy_pairs

from stepbench.engine import gate
from stepbench.engine.gate import Seat, measure_pairs
from stepbench.engine.worktrees import Checkout
from stepbench.judge.gate import log_ratio
from stepbench.records.cases import Case
from stepbench.records.gate import Broken, GateCase, GateSettings, Revision, SideName
from stepbench.records.run import Failure, FailureKind

SETTINGS = GateSettings(pairs=1)
FAILING, INNOCENT = make_case("failing"), make_case("innocent")


def failed(kind: FailureKind) -> GateCase:
    return GateCase(FAILING, (), Broken(SideName.BASE, Failure(kind, "planted")))


def measured(monkeypatch: pytest.MonkeyPatch, *outcomes: GateCase) -> tuple[dict[Case, GateCase], list[list[Case]]]:
    """What is known in the end of the failing case and of one beside it, and the cases that were measured together."""
    left = iter(outcomes)
    teams: list[list[Case]] = []

    class Planted:
        def __init__(self, _: object, cases: Sequence[Case], *__: object) -> None:
            teams.append(list(cases))

        def run(self) -> Iterator[GateCase]:
            for case in teams[-1]:
                yield next(left) if case == FAILING else make_gate_case(*noisy_pairs(count=1), case=case)

    monkeypatch.setattr(gate, "_TeamPair", Planted)
    found = measure_pairs(make_plan([FAILING, INNOCENT]), {}, SETTINGS, Path(), lambda _: None)
    assert next(left, None) is None
    return {case.case: case for case in found}, teams


@pytest.mark.parametrize("kind", [FailureKind.CRASH, FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT])
def test_what_the_machine_may_have_caused_is_tried_again_alone(
    monkeypatch: pytest.MonkeyPatch, kind: FailureKind
) -> None:
    found, teams = measured(monkeypatch, failed(kind), make_gate_case(*noisy_pairs(count=1), case=FAILING))
    assert found[FAILING].broken is None
    assert [len(case.pairs) for case in found.values()] == [1, 1]
    assert teams == [[FAILING, INNOCENT], [FAILING]]


def test_what_fails_twice_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = measured(monkeypatch, failed(FailureKind.CRASH), failed(FailureKind.OUT_OF_MEMORY))
    broken = found[FAILING].broken
    assert broken
    assert broken.failure.kind is FailureKind.OUT_OF_MEMORY
    assert found[INNOCENT].broken is None


def test_what_the_code_does_is_broken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, teams = measured(monkeypatch, make_broken(case=FAILING))
    assert found[FAILING].broken
    assert len(teams) == 1


def pairs_of(
    executions: Sequence[str], tmp_path: Path, slowdown: float = 0.0, planted: float | None = None
) -> dict[str, GateCase]:
    """One pair of each case, by execution; of which head's folder, or the order to head, plants a slowdown."""
    cases = [make_case(execution, workload="tiny") for execution in executions]
    plan = make_plan(cases, timeout_s=20.0, forks=True)
    sides = {}
    for name in SideName:
        root = tmp_path / name
        root.mkdir()
        is_head = name is SideName.HEAD
        if is_head and planted is not None:
            (root / SLOWDOWN_FILE).write_text(str(planted))
        sides[name] = Checkout(Revision(name, ""), root)
    kept: dict[str, GateCase] = {}
    found = measure_pairs(
        plan,
        sides,
        SETTINGS,
        tmp_path / "logs",
        lambda case: kept.update({case.case.variant.execution: case}),
        slowdown=slowdown,
    )
    assert list(kept.values()) == list(found)
    return kept


@pytest.fixture
def quick(fake_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it is wanted for its effect.
    monkeypatch.setattr(gate, "QUADS_S", 0.0)
    monkeypatch.setattr(gate, "FEWEST_QUADS", 3)


@pytest.mark.usefixtures("quick")
def test_a_slowdown_in_heads_folder_is_in_the_pair_and_not_what_base_takes(tmp_path: Path) -> None:
    (pair,) = pairs_of(["graph"], tmp_path, planted=0.5)["graph"].pairs
    assert len(pair.quads) == 3
    assert log_ratio(pair) == pytest.approx(math.log(1.5))
    assert {quad.base for quad in pair.quads} == {(0.015, 0.015)}
    assert (pair.base.functions_traced, pair.head.functions_traced) == (1, 1)
    assert len(list((tmp_path / "logs").iterdir())) == 2


@pytest.mark.usefixtures("quick")
def test_a_slowdown_that_calibration_plants_is_ordered_of_head_alone(tmp_path: Path) -> None:
    (pair,) = pairs_of(["graph"], tmp_path, slowdown=0.1)["graph"].pairs
    assert log_ratio(pair) == pytest.approx(math.log(1.1))


@pytest.mark.usefixtures("quick")
def test_sides_that_fail_are_broken_and_leave_the_others_standing(tmp_path: Path) -> None:
    found = pairs_of(["graph", "raising", "nan-later", "retracing", "aborting"], tmp_path)
    assert {name: case.broken.failure.kind for name, case in found.items() if case.broken} == {
        "raising": FailureKind.ERROR,
        "nan-later": FailureKind.NON_FINITE,
        "aborting": FailureKind.CRASH,
    }
    assert [len(found[name].pairs) for name in ("graph", "retracing")] == [1, 1]
    # Which may be what base does too: told, not refused.
    assert found["retracing"].pairs[0].head.functions_traced == 3
    crashed = [path.name for path in (tmp_path / "logs").iterdir() if "aborting" in path.name]
    assert len(crashed) == 2, "the same two logs took the second attempt, alone"


def test_both_orders_of_a_quad_are_taken_and_each_has_both_sides_twice() -> None:
    assert {tuple(sorted(order)) for order in gate.ORDERS} == {tuple(sorted(2 * list(SideName)))}
    assert all(order == order[::-1] for order in gate.ORDERS)


@pytest.mark.parametrize(("base", "head", "calls"), [(1, 1, 1), (2, 1, 2), (1, 3, 3), (0, 4, 0)])
def test_both_sides_time_as_many_calls_a_block_unless_one_cannot_tell(base: int, head: int, calls: int) -> None:
    setup = gate._Setup(make_plan([INNOCENT]), {}, 0.0, Path())
    pair = gate._TeamPair(setup, [INNOCENT], 0)
    for side, chosen in zip(SideName, (base, head), strict=True):
        pair._taken[Seat(INNOCENT, side)].calls = chosen
    assert pair._calls(INNOCENT) == calls
