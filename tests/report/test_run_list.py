from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
from builders import ENVIRONMENT, make_case, make_failed, make_run
from histories import CASE, ELSEWHERE, committed, run_at, stored
from pages import rendered
from rich.console import Console

from stepbench.report.grid import Grid, markdown_grid, print_grid
from stepbench.report.run_list import baselines_grid, list_runs, run_list_csv, runs_grid, whose_machine

HERE = ENVIRONMENT.fingerprint


def terminal(grid: Grid) -> str:
    file = io.StringIO()
    print_grid(grid, Console(file=file, width=160, highlight=False))
    return file.getvalue()


def test_a_run_is_listed_with_its_cases_failures_and_commit(tmp_path: Path) -> None:
    broken = run_at(1, 10, environment=committed(7, dirty=True))
    broken = msgspec.structs.replace(
        broken,
        measurements=(*broken.measurements, make_failed(make_case("xla"))),
        plan=make_run(make_failed(CASE), make_failed(make_case("xla"))).plan,
    )
    listed = list_runs(stored(tmp_path, [run_at(0, 10), broken]), HERE)
    assert [(run.name, run.cases, run.failed, run.finished) for run in listed.runs] == [
        ("run-00", 1, 0, True),
        ("run-01", 2, 1, True),
    ]
    grid = runs_grid(listed)
    assert grid.rows[1] == (
        *("run-01", "2026-01-02 04:04", f"{HERE[:6]} · this one", "synthetic", "2, 1 failed"),
        "777777777777-dirty",
    )
    assert rendered(markdown_grid(grid)).rows[2] == list(grid.rows[1])


def test_an_unfinished_run_is_listed_as_such(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10, finished=None, measurements=())]), HERE)
    assert not listed.runs[0].finished
    assert "1, unfinished" in terminal(runs_grid(listed))


def test_a_run_of_another_machine_says_which(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10), run_at(1, 10, environment=ELSEWHERE)]), HERE)
    assert [run.this_machine for run in listed.runs] == [True, False]
    for grid in (runs_grid(listed), baselines_grid(listed)):
        assert f"{ELSEWHERE.fingerprint[:6]} · Another CPU, 8 cores · TensorFlow 2.21.0" in terminal(grid)


def test_the_csv_of_a_list_has_a_line_a_run(tmp_path: Path) -> None:
    listed = list_runs(stored(tmp_path, [run_at(0, 10, data="=1+1"), run_at(1, 10)]), HERE)
    rows = list(csv.DictReader(io.StringIO(run_list_csv(listed))))
    assert [row["name"] for row in rows] == ["run-00", "run-01"]
    assert rows[0]["machine"] == HERE
    assert rows[0]["data"] == "'=1+1"


def test_an_empty_list_has_its_heads() -> None:
    text = terminal(baselines_grid(list_runs((), HERE)))
    assert text.splitlines()[0] == "0 baselines"
    assert "baseline  run" in text


def test_whose_machine_a_baseline_is_of_is_one_sentence() -> None:
    assert whose_machine("good", ENVIRONMENT, ENVIRONMENT) == "Baseline good is of this machine."
    said = whose_machine("good", ELSEWHERE, ENVIRONMENT)
    assert "of another machine, whose times cannot be compared with this one's (CPU: Another CPU" in said
    assert len(said.splitlines()) == 1
