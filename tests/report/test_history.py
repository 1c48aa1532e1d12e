from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from builders import ENVIRONMENT, STARTED, make_case, make_failed, make_measurement, make_run
from histories import CASE, ELSEWHERE, committed, followed, run_at, stepping, stored
from shown import printed, read

from stepbench.errors import StepbenchError
from stepbench.report.blocks import Table
from stepbench.report.history import History, blocks, history_csv, history_of


def terminal(history: History) -> str:
    return printed([blocks(history)])


def test_each_run_has_its_step_time_and_what_changed_against_the_one_before(tmp_path: Path) -> None:
    history = followed(tmp_path, run_at(0, 10), run_at(1, 12), run_at(2, 12))
    assert [point.run for point in history.points] == ["run-00", "run-01", "run-02"]
    times = [point.step_time_s for point in history.points]
    assert [found.value for found in times if found] == pytest.approx([0.01, 0.012, 0.012], rel=0.01)
    ratios = [point.ratio for point in history.points]
    assert ratios[0] is None
    assert [found.value for found in ratios if found] == pytest.approx([1.2, 1.0], rel=0.02)
    assert all(found.low and found.high and found.low < found.value < found.high for found in ratios if found)


def test_a_change_point_is_marked_in_its_row_and_told_with_its_commits(tmp_path: Path) -> None:
    history = followed(tmp_path, *stepping())
    (series,) = history.series
    assert [change.run for change in series.changes] == ["run-08"]
    text = terminal(history)
    (row,) = (line for line in text.splitlines() if line.startswith("run-08 "))
    assert "888888888888 " in row
    assert row.rstrip().endswith("]")
    note = next(note for note in history.notes if "from run run-08 on" in note)
    assert note.startswith("+9.8 % [+9.")
    assert note.endswith("(commit: 777777777777 vs 888888888888)")


def test_what_changed_with_the_step_time_is_told(tmp_path: Path) -> None:
    runs = [msgspec.structs.replace(run, environment=committed(1)) for run in stepping()]
    (note,) = (note for note in followed(tmp_path / "same", *runs).notes if " on (" in note)
    assert note.endswith("(of the same commit)")
    newer = msgspec.structs.replace(ENVIRONMENT.software, python="3.12.1")
    runs = [
        msgspec.structs.replace(run, environment=msgspec.structs.replace(ENVIRONMENT, software=newer))
        if n >= 8
        else run
        for n, run in enumerate(stepping())
    ]
    (note,) = (note for note in followed(tmp_path, *runs).notes if " on (" in note)
    assert "Python: 3.11.7 vs 3.12.1" in note


def test_another_machine_is_shown_as_such_and_compared_with_itself_alone(tmp_path: Path) -> None:
    environments = [ENVIRONMENT, ENVIRONMENT, ELSEWHERE, ENVIRONMENT, ELSEWHERE]
    runs = [
        run_at(number, 5 if environment is ELSEWHERE else 10, environment=environment)
        for number, environment in enumerate(environments)
    ]
    history = followed(tmp_path, *runs)
    assert [point.machine_changed for point in history.points] == [False, False, True, True, True]
    assert [point.ratio is not None for point in history.points] == [False, True, False, True, True]
    assert all(0.9 < point.ratio.value < 1.1 for point in history.points if point.ratio)
    assert set(history.machines) == {ENVIRONMENT.fingerprint, ELSEWHERE.fingerprint}
    text = terminal(history)
    assert text.count("→") == 3
    assert "Another CPU, 8 cores" in text
    assert "usable cores: 2 vs 8" in text
    assert f"machine {ELSEWHERE.fingerprint[:6]}: 2 runs, and changes are looked for in 6 or more" in text


def test_a_failed_run_has_a_row_and_no_number(tmp_path: Path) -> None:
    failed = make_run(make_failed(CASE), run_id="run-01", started=STARTED + timedelta(hours=1))
    history = followed(tmp_path, run_at(0, 10), failed, run_at(2, 10))
    point = history.points[1]
    assert (point.step_time_s, point.ratio, point.failure and point.failure.kind.value) == (None, None, "error")
    assert history.points[2].ratio is not None
    assert "failed: error" in terminal(history)


def test_runs_without_the_case_are_left_out_and_unfinished_ones_named(tmp_path: Path) -> None:
    other = run_at(0, 10, case=make_case("xla"))
    unfinished = run_at(1, 10, finished=None)
    verified = run_at(2, 10, measurements=(make_measurement(CASE),))
    history = followed(tmp_path, other, unfinished, verified, run_at(3, 10))
    assert [point.run for point in history.points] == ["run-03"]
    assert "unfinished runs are left out: run-01" in history.notes


def test_only_the_last_runs_count_if_asked(tmp_path: Path) -> None:
    history = followed(tmp_path, *stepping(), last=9)
    assert [point.run for point in history.points] == [f"run-{number:02}" for number in range(7, 16)]
    assert history.points[0].ratio is None
    assert history.series[0].runs == 9


def test_outliers_are_named(tmp_path: Path) -> None:
    runs = [run_at(number, 20 if number == 7 else 10) for number in range(12)]
    history = followed(tmp_path, *runs)
    assert history.series[0].changes == ()
    assert "outliers, which no level counts: run-07" in history.notes


def test_a_case_that_no_run_has_timed_is_refused(tmp_path: Path) -> None:
    runs = stored(tmp_path, [make_run(make_failed(CASE), run_id="failed")])
    with pytest.raises(StepbenchError, match="No finished run has timed cnn/graph/float32/cpu/b64: measure it with"):
        history_of(CASE, runs)


def test_the_markdown_has_the_same_cells(tmp_path: Path) -> None:
    history = followed(tmp_path, *stepping())
    _, table, _ = blocks(history)
    page = read([blocks(history)])
    assert isinstance(table, Table)
    assert page.rows == [[head.text for head in table.heads], *([cell.text for cell in row] for row in table.rows)]
    assert all(note in page.text for note in history.notes)


def test_the_csv_has_full_precision_and_a_line_a_run(tmp_path: Path) -> None:
    history = followed(tmp_path, *stepping())
    rows = list(csv.DictReader(io.StringIO(history_csv(history))))
    assert [row["run"] for row in rows] == [point.run for point in history.points]
    found = history.points[3].step_time_s
    assert found
    assert [float(rows[3][f"step_time_s{part}"]) for part in ("", "_low", "_high")] == [
        found.value,
        found.low,
        found.high,
    ]
    assert [bool(row["change"]) for row in rows] == [number == 8 for number in range(16)]


def test_text_from_files_cannot_steer_a_spreadsheet(tmp_path: Path) -> None:
    history = followed(tmp_path, run_at(0, 10, environment=committed(1, commit="=1+1\x1b[31m")))
    assert "'=1+1" in history_csv(history)
    assert "\x1b" not in history_csv(history)


def test_a_lasting_slowdown_is_red_and_a_lasting_gain_green(tmp_path: Path) -> None:
    for folder, share, style in (("slower", 0.1, "red"), ("faster", -0.1, "green")):
        _, table, _ = blocks(followed(tmp_path / folder, *stepping(share=share)))
        assert isinstance(table, Table)
        assert [table.styles[number] for number in range(16)] == [style * (number == 8) for number in range(16)]
