"""``stepbench report --format`` for other programs, one of which is run on two exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from builders import ODD_NAMES, make_case, make_failed, make_measurement, make_run
from invoking import Invoke

from stepbench.cli.shared import Format, RunFormat
from stepbench.records.store import Store
from stepbench.report.exports import FORMATS

RUN = make_run(
    make_measurement(make_case("eager"), [0.2, 0.2], [0.2, 0.2]),
    make_measurement(make_case("graph"), [0.1, 0.1], [0.1, 0.1]),
    make_failed(make_case("xla"), message="XLA said no."),
)
IDS = ("cnn/eager/float32/cpu/b64", "cnn/graph/float32/cpu/b64")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run."""
    Store(tmp_path / "results").write(RUN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_is_printed_in_every_format_there_is() -> None:
    assert {found.value for found in RunFormat} == {*(found.value for found in Format), *FORMATS}


@pytest.mark.parametrize("output", FORMATS)
def test_an_export_is_printed_alone_and_failed_cases_are_told_beside_it(output: str, in_process: Invoke) -> None:
    code, out, err = in_process("report", RUN.run_id, "--format", output)
    assert code == 0
    assert all(name in json.dumps(json.loads(out)) for name in IDS)
    assert "xla" not in out
    assert err == "cnn/xla/float32/cpu/b64 is left out: error: XLA said no.\n"


def test_an_export_of_one_case_holds_it_alone(in_process: Invoke) -> None:
    code, out, err = in_process("report", RUN.run_id, "--case", "graph", "--format", "bencher")
    assert (code, list(json.loads(out)), err) == (0, [IDS[1]], "")


def test_a_run_without_times_is_refused_in_one_line(folder: Path, in_process: Invoke) -> None:
    Store(folder / "results").write(msgspec.structs.replace(RUN, measurements=RUN.measurements[2:]))
    code, out, err = in_process("report", RUN.run_id, "--format", "bencher")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "has no times to export" in err


def test_pytest_benchmark_compares_the_exports_of_two_runs(folder: Path, in_process: Invoke) -> None:
    names = ["graph", *ODD_NAMES]
    files = []
    for number, seconds in enumerate((0.1, 0.125), 1):
        slower = (make_measurement(make_case(name), [seconds] * 3, [seconds] * 3) for name in names)
        Store(folder / "results").write(msgspec.structs.replace(make_run(*slower), run_id=f"run-{number}"))
        files.append(folder / f"{number}.json")
        files[-1].write_text(in_process("report", f"run-{number}", "--format", "pytest-benchmark")[1], "utf-8")
    program = Path(sys.executable).with_name("pytest-benchmark")
    options = ["--columns=mean,rounds", "--group-by=name"]
    compared = subprocess.run(
        [program, "compare", *files, *options],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (compared.returncode, compared.stderr) == (0, "")
    for name in names:
        lines = [line for line in compared.stdout.splitlines() if line.startswith(f"cnn/{name}/float32/cpu/b64 ")]
        assert [("10.0000 (1.0)" in line, "12.5000 (1.25)" in line) for line in lines] == [(True, False), (False, True)]
