"""A gate whose tracing goes wrong keeps its verdict, and says in one sentence why nothing is explained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from builders import make_case, make_plan, make_trace
from paired import BASE, HEAD, make_gate, make_gate_case, noisy_pairs

from stepbench.commands.gate import _Keeper, _trace_slower, notes
from stepbench.engine import gate_traces as tracing
from stepbench.engine.profile import Subject, Take
from stepbench.engine.worktrees import Checkout
from stepbench.errors import StepbenchError
from stepbench.judge.gate import GateVerdict, judge_gate
from stepbench.records.gate import Gate, SideName
from stepbench.records.progress import untold
from stepbench.records.run import Failure, FailureKind
from stepbench.records.store import GATE_FILE, Store
from stepbench.report import tensorboard
from stepbench.report.gate import explanations

SLOWER, ALSO_SLOWER, SAME = make_case("graph"), make_case("xla"), make_case("eager")
GATE = make_gate(
    make_gate_case(*noisy_pairs(0.1), case=SLOWER),
    make_gate_case(*noisy_pairs(count=4), case=SAME),
    make_gate_case(*noisy_pairs(0.2), case=ALSO_SLOWER),
)
REFUSED = Failure(FailureKind.NOT_PROVED, "The trace: it marks no steps.")


class Tracer:
    """Stands for the workers: gives a good trace of each subject, unless something is planted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, planted: dict[str, BaseException | Failure]) -> None:
        self.asked: list[Subject] = []
        self._planted = planted
        monkeypatch.setattr(tracing, "trace_each", self._trace_each)

    def _trace_each(self, subjects: Sequence[Subject], _settings: object, _folder: Path, take: Take, _: object) -> None:
        for subject in subjects:
            self.asked.append(subject)
            found = self._planted.get(subject.name, make_trace(subject.case, path=subject.session))
            if isinstance(found, BaseException):
                raise found
            take(subject, found)


def traced(store: Store) -> Gate:
    """The gate after tracing, which is also what is stored."""
    plan = make_plan([SLOWER, SAME, ALSO_SLOWER])
    revisions = {SideName.BASE: BASE, SideName.HEAD: HEAD}
    sides = {name: Checkout(revision, Path(f"/{name}")) for name, revision in revisions.items()}
    keeper = _Keeper(GATE, store)
    _trace_slower(keeper, plan, sides, untold)
    return keeper.gate


def stored(store: Store) -> Gate:
    return msgspec.json.decode((store.folder(GATE.gate_id) / GATE_FILE).read_bytes(), type=Gate)


def untraced(gate: Gate) -> list[str]:
    return [found.untraced for found in gate.cases]


def test_what_is_slower_is_traced_on_both_sides_where_each_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = Tracer(monkeypatch, {})
    gate = traced(Store(tmp_path))
    assert [subject.name for subject in tracer.asked] == [
        f"{case.id}/{side}" for case in (SLOWER, ALSO_SLOWER) for side in ("base", "head")
    ]
    assert [str(subject.surroundings.folder) for subject in tracer.asked[:2]] == ["/base", "/head"]
    for subject in tracer.asked:
        assert subject.surroundings.environment["PYTHONPATH"].startswith(f"{subject.surroundings.folder}/src")
    assert set(explanations(gate)) == {SLOWER.id, ALSO_SLOWER.id}
    assert untraced(gate) == ["", "", ""]
    assert stored(Store(tmp_path)) == gate
    assert notes(gate, Store(tmp_path))[0] == (
        f"the traces of both sides: tensorboard --logdir {tmp_path}/{GATE.gate_id}/tensorboard"
    )
    assert len(notes(GATE, Store(tmp_path))) == 1


@pytest.mark.parametrize("side", SideName)
def test_a_refused_trace_costs_its_case_the_explanation_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: SideName
) -> None:
    Tracer(monkeypatch, {f"{SLOWER.id}/{side}": REFUSED})
    gate = traced(Store(tmp_path))
    said = f"{side} could not be traced: not_proved: The trace: it marks no steps."
    assert untraced(gate) == [said, "", ""]
    assert set(explanations(gate)) == {ALSO_SLOWER.id}
    assert judge_gate(gate) == judge_gate(GATE)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (KeyboardInterrupt(), "tracing was interrupted"),
        (StepbenchError("It is full: make room."), "It is full: make room"),
    ],
)
def test_what_ends_tracing_keeps_the_verdict_and_the_traces_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: BaseException, said: str
) -> None:
    Tracer(monkeypatch, {f"{ALSO_SLOWER.id}/head": planted})
    gate = traced(Store(tmp_path))
    assert judge_gate(gate).verdict is GateVerdict.REGRESSION
    assert set(explanations(gate)) == {SLOWER.id}
    assert untraced(gate) == ["", "", said]
    assert stored(Store(tmp_path)) == gate


def test_a_gate_that_cannot_be_written_any_more_is_still_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tracer(monkeypatch, {})
    (tmp_path / GATE.gate_id).write_text("in the way")
    gate = traced(Store(tmp_path))
    assert judge_gate(gate).verdict is GateVerdict.REGRESSION
    # The first was traced before writing failed, the other was not begun.
    assert set(explanations(gate)) == {SLOWER.id}
    (why,) = filter(None, untraced(gate))
    assert "cannot be written" in why


def test_a_session_that_cannot_be_marked_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tracer(monkeypatch, {})

    def fail(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(tensorboard, "mark_as_training", fail)
    assert len(explanations(traced(Store(tmp_path)))) == 2
