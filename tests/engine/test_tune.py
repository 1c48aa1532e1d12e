"""Races held by the real engine, with fake workers: who goes wrong is out, and the race goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import faking
import msgspec
import pytest
from fake_worker import SPEED, UNPROVED

from stepbench.commands.request import Request
from stepbench.commands.tune import TuneRequest, tune
from stepbench.engine import tune as engine
from stepbench.errors import InterruptedRunError, StepbenchError
from stepbench.judge.statistics import Estimate
from stepbench.judge.training import Verdict
from stepbench.records.progress import Progress, untold
from stepbench.records.settings import Setting
from stepbench.records.store import Store
from stepbench.records.tune import Race
from stepbench.report.apply import Applied
from stepbench.report.tune import chapters
from stepbench.report.tuned import Tuned, summarize_race

FASTER = tuple(Setting(f"env:{SPEED}", value) for value in ("0.6", "1.5"))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    faking.start_fakes(monkeypatch)
    monkeypatch.setattr(engine, "AGAIN", 3)


def asked(executions: Sequence[str] = ("graph", "eager"), **changes: object) -> TuneRequest:
    request = Request(
        workloads=(faking.WORKLOAD,),
        executions=tuple(executions),
        precisions=Request.precisions[:1],
        data="synthetic",
        plugins=("planted",),
        settings=(FASTER,),
        timeout_s=3.0,
    )
    return TuneRequest(replace(request, **changes), budget_s=40.0)  # type: ignore[arg-type] # Fields of the request.


def held(request: TuneRequest, results: Path) -> tuple[Race, Tuned]:
    race, run, _ = tune(request, results, untold, lambda _: None)
    return race, summarize_race(race, run)


def test_the_fastest_is_found_measured_again_and_certified(tmp_path: Path) -> None:
    race, found = held(asked(), tmp_path)
    assert found.default.id == "tiny/graph/float32/cpu/b64"
    assert found.winner.id.endswith(f"/env:{SPEED}=0.6")
    assert found.winner.speedup
    assert found.winner.speedup.value == pytest.approx(1 / 0.6, rel=0.05)
    assert found.winner.equivalence.verdict is Verdict.EQUIVALENT
    assert found.apply.env == {SPEED: "0.6"}
    again = {heat.number for heat in race.again}
    assert len(again) == 3
    assert again.isdisjoint(heat.number for heat in race.heats), "what is told had no part in the choice"
    (slower,) = [one for one in found.worth if one.change == f"env:{SPEED}=1.5"]
    assert slower.ratio.value == pytest.approx(1 / 1.5, rel=0.05)
    assert race.finished
    assert (tmp_path / race.run_id / "report.html").is_file()
    assert chapters(found)


def test_who_goes_wrong_is_out_with_its_reason_and_the_race_goes_on(tmp_path: Path) -> None:
    ways = ("graph", "raising", "aborting", "sleeping", "nan", "retracing", "too-steep")
    race, found = held(asked(ways), tmp_path)
    why = {one.id.split("/")[1]: one.why for one in found.eliminated}
    assert why["raising"].startswith("error: ")
    assert why["aborting"].startswith("crash: ")
    assert why["sleeping"].startswith("timeout: ")
    assert why["nan"].startswith("non_finite: ")
    assert why["retracing"].startswith("not_proved: ")
    assert why["too-steep"].startswith("converges differently: "), "though twice as fast"
    assert found.winner.id == f"tiny/graph/float32/cpu/b64/env:{SPEED}=0.6"
    assert not [one for one in found.eliminated if one.id == found.winner.id]
    assert [str(out.variant) for out in race.disqualified] == ["too-steep/float32"]


def test_a_winner_that_trains_differently_loses_to_the_next(tmp_path: Path) -> None:
    """It passes level 1, and is found out as it trains."""
    race, found = held(asked(("graph", "faulty-midway")), tmp_path)
    assert [str(out.variant) for out in race.disqualified] == ["faulty-midway/float32"]
    assert "dense/kernel" in race.disqualified[0].why
    assert "faulty-midway" not in found.winner.id


def test_a_winner_is_held_to_account_where_what_it_is_held_against_took_no_part(tmp_path: Path) -> None:
    """The race is in half precision, so that the float32 anchor comes in after the winner."""
    request = asked(("graph", "faulty-midway"), precisions=Request.precisions, settings=())
    race, found = held(replace(request, fixed={"precision": "mixed_bfloat16"}), tmp_path)
    assert [str(out.variant) for out in race.disqualified] == ["faulty-midway/mixed_bfloat16"]
    assert found.winner.id == found.default.id == "tiny/graph/mixed_bfloat16/cpu/b64"


def test_larger_batches_are_tried_where_that_is_allowed_and_told_an_example(tmp_path: Path) -> None:
    other = (Setting("env:OTHER", "1"),)
    request = replace(asked(("graph",), settings=(other,)), allows_batch_size=True, training_steps=1000)
    race, found = held(request, tmp_path)
    assert "batch size" in [stage.name for stage in race.stages]
    assert race.training_steps == 1000
    assert found.winner.id == "tiny/graph/float32/cpu/b1024", "a fake step takes as long whatever its batch"
    assert found.winner.speedup
    assert found.winner.speedup.value == pytest.approx(16, rel=0.05)
    assert found.apply.python == "batch_size = 1024"


def test_a_setting_that_is_not_proved_is_out(tmp_path: Path) -> None:
    unproved = (Setting(f"env:{UNPROVED}", "1"),)
    _, found = held(asked(settings=(unproved,)), tmp_path)
    assert {one.id: one.why for one in found.eliminated}[f"tiny/graph/float32/cpu/b64/env:{UNPROVED}=1"].startswith(
        "not_proved: "
    )


def test_a_default_that_cannot_be_measured_ends_it_with_a_sentence(tmp_path: Path) -> None:
    request = replace(asked(), fixed={f"env:{UNPROVED}": "1"})
    with pytest.raises(StepbenchError, match="which others are held against, cannot be measured"):
        held(request, tmp_path)


def test_a_win_that_is_not_shown_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "gain", lambda *_: Estimate(1.02, 0.97, 1.07))
    race, found = held(asked(), tmp_path)
    assert found.winner.id == found.default.id == race.default.id
    assert found.challenger
    assert found.challenger.id.endswith(f"/env:{SPEED}=0.6")
    assert found.apply == Applied({}, "")
    points = [point for block in chapters(found)[0] for point in getattr(block, "points", ())]
    assert any("not shown to be faster" in point for point in points)


def interrupting(after: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.doing.startswith(f"heat {after}"):
            raise KeyboardInterrupt

    return tell


def test_an_interrupted_race_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="tune --resume"):
        tune(asked(), tmp_path, interrupting(3), lambda _: None)
    run = Store(tmp_path).read()
    before = Store(tmp_path).read_race(run.run_id)
    assert len(before.heats) == 2
    so_far = summarize_race(before, run)
    assert not so_far.finished
    assert so_far.winner.id
    race, _, _ = tune(asked(), tmp_path, untold, lambda _: None, resume=run.run_id)
    assert race.finished
    assert race.heats[:2] == before.heats
    assert race.spent_s > before.spent_s
    assert msgspec.json.decode((tmp_path / run.run_id / "tuned.json").read_bytes(), type=Race) == race
