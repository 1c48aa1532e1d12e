from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
from builders import ENVIRONMENT, make_case, make_failed, make_run
from histories import CASE, ELSEWHERE, committed, run_at, stored
from shown import printed, read

from stepbench.report.blocks import Block
from stepbench.report.run_list import baseline_blocks, list_runs, run_blocks, run_list_csv, whose_machine

HERE = ENVIRONMENT.fingerprint


def terminal(blocks: Sequence[Block]) -> str:
    return printed([blocks])


def test_a_run_is_listed_with_its_cases_failures_and_commit(tmp_path: Path) -> None:
    broken = run_at(1, 10, environment=committed(7, dirty=True))
    broken = msgspec.structs.replace(
        broken,
        measurements=(*broken.measurements, make_failed(make_case("xla"))),
        plan=make_run(make_failed(CASE), make_failed(make_case("xla"))).plan,
    )
    listed = list_runs(stored(tmp_path, [run_at(0, 10), broken]), ENVIRONMENT)
    assert [(run.name, run.cases, run.failed, run.finished) for run in listed.runs] == [
        ("run-00", 1, 0, True),
        ("run-01", 2, 1, True),
    ]
    assert read([run_blocks(listed)]).rows[2] == [
        *("run-01", "2026-01-02 04:04", f"{HERE[:6]} · this one", "synthetic", "2, 1 failed"),
        "777777777777-dirty",
    ]


def test_an_unfinished_run_is_listed_as_such(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10, finished=None, measurements=())]), ENVIRONMENT)
    assert not listed.runs[0].finished
    assert "1, unfinished" in terminal(run_blocks(listed))


def test_a_run_of_another_machine_says_which(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10), run_at(1, 10, environment=ELSEWHERE)]), ENVIRONMENT)
    assert [run.this_machine for run in listed.runs] == [True, False]
    forked = msgspec.structs.replace(ENVIRONMENT, forks=True)
    assert list_runs(stored(tmp_path / "forked", [run_at(0, 10, environment=forked)]), ENVIRONMENT).runs[0].this_machine
    for shown in (run_blocks(listed), baseline_blocks(listed)):
        assert f"{ELSEWHERE.fingerprint[:6]} · Another CPU, 8 cores · TensorFlow 2.21.0" in terminal(shown)


def test_the_csv_of_a_list_has_a_line_a_run(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10, data="=1+1"), run_at(1, 10)]), ENVIRONMENT)
    rows = list(csv.DictReader(io.StringIO(run_list_csv(listed))))
    assert [row["name"] for row in rows] == ["run-00", "run-01"]
    assert rows[0]["machine"] == HERE
    assert rows[0]["data"] == "'=1+1"


def test_an_empty_list_has_its_heads() -> None:
    text = terminal(baseline_blocks(list_runs((), ENVIRONMENT)))
    assert text.splitlines()[0] == "0 baselines"
    assert "baseline  run" in text


def test_whose_machine_a_baseline_is_of_is_one_sentence() -> None:
    forked = msgspec.structs.replace(ENVIRONMENT, forks=True)
    assert whose_machine("good", forked, ENVIRONMENT) == "Baseline good is of this machine."
    assert whose_machine("good", ENVIRONMENT, ENVIRONMENT) == (
        "Baseline good is of this machine, of workers that were started: their times are not compared with those of "
        "forked ones."
    )
    said = whose_machine("good", ELSEWHERE, ENVIRONMENT)
    assert "of another machine, whose times cannot be compared with this one's (CPU: Another CPU" in said
    assert len(said.splitlines()) == 1
