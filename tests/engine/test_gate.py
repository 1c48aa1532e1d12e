"""What a gate does with pairs that fail, without workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from builders import make_case, make_plan
from paired import make_broken, make_gate_case, noisy_pairs

from stepbench.engine import gate
from stepbench.engine.gate import Seat, measure_pairs
from stepbench.records.cases import Case
from stepbench.records.gate import Broken, GateCase, GateSettings, SideName
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


@pytest.mark.parametrize(("base", "head", "calls"), [(1, 1, 1), (2, 1, 2), (1, 3, 3), (0, 4, 0)])
def test_both_sides_time_as_many_calls_a_block_unless_one_cannot_tell(base: int, head: int, calls: int) -> None:
    setup = gate._Setup(make_plan([INNOCENT]), {}, 0.0, Path())
    pair = gate._TeamPair(setup, [INNOCENT], 0)
    for side, chosen in zip(SideName, (base, head), strict=True):
        pair._taken[Seat(INNOCENT, side)].calls = chosen
    assert pair._calls(INNOCENT) == calls
