"""A verification from end to end, with real workers."""

from __future__ import annotations

from pathlib import Path

import places
import pytest
from builders import make_case, make_plan
from stored import Memo

from stepbench.engine.verify import verify
from stepbench.judge.training import Verdict
from stepbench.judge.verify import judge_cases
from stepbench.records.cases import INNOCENT, Verification
from stepbench.records.run import Measurement, assemble

pytestmark = pytest.mark.tensorflow

SETTINGS = Verification(seeds=4, steps=24)
PLANTED_FILE = str(places.ROOT / "src/stepbench/training/planted.py")


def test_the_innocent_are_equivalent_and_a_planted_bug_is_different_for_its_own_reason(tmp_path: Path) -> None:
    names = ("graph", INNOCENT, "planted-flipped-sign")
    cases = tuple(make_case(name, workload="tiny", batch_size=32) for name in names)
    plan = make_plan(
        cases, workloads={"tiny": f"{places.TINY}:workload"}, plugins=(PLANTED_FILE,), verification=SETTINGS
    )
    memo = Memo()
    verify(plan, [Measurement(case) for case in cases], memo, tmp_path)
    measured = assemble(cases, memo.events)
    found = judge_cases(measured, SETTINGS)
    assert all(curve.points for measurement in measured for curve in measurement.curves)
    verdicts = [found[case].verdict for case in cases]
    assert verdicts == [*[Verdict.EQUIVALENT] * 2, Verdict.DIFFERENT]
    why = found[cases[-1]].why[0]
    # It counts the calls of level 1 too.
    assert "is not what the optimizer was given" in why
    assert why.endswith(f"in step {20 - len(SETTINGS.points)} (seed 0)")
