"""A verification from end to end, with real workers."""

from __future__ import annotations

from pathlib import Path

import places
import pytest
from builders import make_case, make_plan

from stepbench.engine.verify import verify
from stepbench.judge.training import Verdict
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import INNOCENT, Verification
from stepbench.records.run import Event, Measurement, assemble

pytestmark = pytest.mark.tensorflow

SETTINGS = Verification(seeds=4, steps=24)
PLANTED_FILE = str(places.ROOT / "src/stepbench/training/planted.py")


class Events(list[Event]):
    """A journal in memory."""

    def sync(self) -> None:
        pass


def test_the_innocent_are_equivalent_and_a_planted_bug_is_different_for_its_own_reason(tmp_path: Path) -> None:
    names = ("eager", "graph", INNOCENT, "planted-flipped-sign")
    cases = tuple(make_case(name, workload="tiny", batch_size=32) for name in names)
    plan = make_plan(
        cases,
        workloads={"tiny": f"{places.TINY}:workload"},
        plugins=(PLANTED_FILE,),
        verification=SETTINGS,
    )
    events = Events()
    verify(plan, [Measurement(case) for case in cases], events, tmp_path)  # type: ignore[arg-type] # It stands in for a journal.
    found = judge_cases(assemble(cases, events), SETTINGS)
    trained = [found for found in assemble(cases, events) if found.curves]
    assert all(curve.points for found in trained for curve in found.curves)
    verdicts = [found[case].verdict for case in cases]
    assert verdicts == [*[Verdict.EQUIVALENT] * 3, Verdict.DIFFERENT]
    why = found[cases[3]].why[0]
    # It counts the calls of level 1 too.
    assert "is not what the optimizer was given" in why
    assert why.endswith(f"in step {20 - len(SETTINGS.points)} (seed 0)")
