from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
from builders import make_case, make_failed, make_measurement, make_run
from invoking import Invoke

from stepbench.records.store import RUN_FILE, Store

STEPBENCH = Path(sys.executable).with_name("stepbench")
COMMANDS = """
import contextlib, os, sys
from stepbench import cli

for arguments in ("--help", "report", "report --format json", "train --data nowhere"):
    sys.argv = ["stepbench", *arguments.split()]
    with contextlib.suppress(SystemExit), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        cli.main()
    heavy = {"tensorflow", "keras", "numpy", "scipy", "tensorboard", "rich"} & set(sys.modules)
    print(arguments, *sorted(heavy))
"""
RUN = make_run(
    make_measurement(make_case("eager"), [0.2, 0.2], [0.2, 0.2]),
    make_measurement(make_case("graph"), [0.1, 0.1], [0.1, 0.1]),
    make_failed(make_case("xla"), message="XLA said no."),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run, a file and an empty folder, in a home without data."""
    Store(tmp_path / "results").write(RUN)
    (tmp_path / "results" / "latest").symlink_to(RUN.run_id)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for variable in ("STEPBENCH_DATA", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def invoke(folder: Path, in_process: Invoke) -> Invoke:
    """Call the command line where there are runs."""
    assert folder.is_dir()
    return in_process


def execute(*arguments: str | bytes, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user does."""
    return subprocess.run(
        [STEPBENCH, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WRONG_RUNS = [
    (["--execution", "nope"], "There is no execution 'nope': use eager, graph, xla, keras, or name the file"),
    (["--execution", "graph,,xla"], "has an empty part: give names separated by commas"),
    (["--execution", "eager", "--steps-per-call", "8"], "No case is left, as eager and keras take one step a call"),
    (["--precision", "float64"], "--precision knows no 'float64': use float32, mixed_bfloat16, mixed_float16"),
    (["--device", "tpu"], "--device knows no 'tpu': use cpu, gpu"),
    (["--batch-size", "0"], "--batch-size takes whole numbers from 1 "),
    (["--replicates", "0"], "--replicates must be at least 1, not 0"),
    (["--rounds", "-1"], "--rounds must be at least 1, not -1"),
    (["--workload", "nope"], "There is no workload 'nope': use cifar-cnn, 'package.module:attribute', 'path/to/"),
    (["--workload", "missing.py:workload"], "There is no file missing.py: give the path"),
    (["--plugin", "missing.py"], "There is no file missing.py: give the path"),
    (["--data", "empty"], "holds neither cifar-10-batches-py nor cifar-10-batches-bin"),
    (["--data", "nowhere"], "--data must be auto, cifar10, synthetic or a folder with CIFAR-10"),
    (["--data", "file"], "--data must be auto, cifar10, synthetic or a folder with CIFAR-10"),
    (["--budget", "soon"], "--budget takes a time such as 90s, 5m or 1h, not 'soon'"),
    (["--timeout", "0s"], "--timeout takes a time such as 90s, 5m or 1h"),
    (["--resume", "nope"], "There is no run 'nope', neither in results nor as a folder with a run.json"),
    (["--results", "file/results"], "cannot be written (Not a directory): choose a folder that can be written with"),
    (["--results", "file"], "cannot be written (File exists): choose a folder that can be written with --results"),
]
WRONG_TRAININGS = [
    (["--execution", "nope"], "There is no execution 'nope': use eager, graph, xla, keras, or name the file"),
    (["--execution", "eager", "--steps-per-call", "2"], "The execution eager runs one step a call: use graph or xla"),
    (["--epochs", "0"], "--epochs takes whole numbers from 1 "),
    (["--limit", "0"], "The limit must be at least 1 training example, not 0"),
    (["--data", "empty"], "holds neither cifar-10-batches-py nor cifar-10-batches-bin"),
]
WRONG_REPORTS = [
    (["nope"], "There is no run 'nope', neither in results nor as a folder with a run.json"),
    (["../results"], "There is no run '../results'"),
    (["x" * 5000], "There is no run 'xxx"),
    (["--results", "empty"], "There is no run in empty: make one with 'stepbench run'"),
    (["--results", "file/results"], "There is no run in file/results: make one with 'stepbench run'"),
]
WRONG = [
    ("verify", ["--margin", "0%"], "a margin between 0% and 100%"),
    ("verify", ["--results", "file"], "cannot be written (File exists): choose a folder that can be written with"),
    ("profile", ["--steps", "0"], "A trace takes at least 1 step, not 0"),
    ("profile", ["--results", "file"], "cannot be written (File exists): choose a folder that can be written with"),
    *(("run", arguments, words) for arguments, words in WRONG_RUNS),
    *(("train", arguments, words) for arguments, words in WRONG_TRAININGS),
    *(("report", arguments, words) for arguments, words in WRONG_REPORTS),
]


def test_wrong_use_exits_2_with_one_line_that_says_what_to_do(invoke: Invoke, folder: Path) -> None:
    for command, arguments, words in WRONG:
        code, out, err = invoke(command, *arguments)
        (line,) = err.splitlines()
        assert line.startswith("stepbench: "), (command, arguments)
        assert words in line
        assert (code, out) == (2, ""), (command, arguments)
    assert [path.parent.name for path in folder.rglob(RUN_FILE)] == [RUN.run_id]


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "is damaged"), (b'{"schema": 2}', "has schema 2"), (b"", "is damaged")]
)
def test_a_run_that_cannot_be_understood_is_refused(invoke: Invoke, folder: Path, content: bytes, words: str) -> None:
    (folder / "results" / RUN_FILE).parent.joinpath("odd").mkdir()
    (folder / "results" / "odd" / RUN_FILE).write_bytes(content)
    for arguments in (("report", "odd"), ("run", "--resume", "odd")):
        code, out, err = invoke(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert words in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-option"],
        ["no-such-command"],
        ["run", "--replicates", "several"],
        ["report", "one", "two"],
        ["report", "--format", "pdf"],
        ["train", "--limit", "1.5"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_parsed_exits_2(invoke: Invoke, arguments: list[str]) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert "Traceback" not in err


def test_the_version_is_that_of_the_installed_distribution(invoke: Invoke) -> None:
    assert invoke("--version") == (0, f"stepbench {metadata.version('stepbench')}\n", "")


def test_a_report_is_the_latest_run_by_default(invoke: Invoke) -> None:
    code, out, err = invoke("report")
    assert (code, err) == (0, "")
    assert RUN.run_id in out
    assert invoke("report", RUN.run_id)[1] == out
    assert invoke("report", "latest")[1] == out
    assert invoke("report", f"results/{RUN.run_id}", "--results", "empty")[1] == out


def test_each_format_is_printed_alone(invoke: Invoke) -> None:
    ids = ["cnn/graph/float32/cpu/b64", "cnn/eager/float32/cpu/b64", "cnn/xla/float32/cpu/b64"]
    report = json.loads(invoke("report", "--format", "json")[1])
    assert (report["schema"], [case["id"] for case in report["cases"]]) == (1, ids)
    table = csv.DictReader(io.StringIO(invoke("report", "--format", "csv")[1]))
    assert [row["id"] for row in table] == ids
    assert "| graph/float32 |" in invoke("report", "--format", "markdown")[1]
    assert "graph/float32" in invoke("report", "--format", "text")[1]


def test_an_unfinished_run_says_beside_the_report_how_to_continue_it(invoke: Invoke, folder: Path) -> None:
    Store(folder / "results").write(msgspec.structs.replace(RUN, finished=None))
    code, out, err = invoke("report", "--format", "json")
    assert code == 0
    assert {"schema", "run_id", "started", "environment", "data", "cases"} <= set(json.loads(out))
    assert f"--resume {RUN.run_id}" in err


def test_resuming_a_finished_run_measures_nothing_and_prints_it(invoke: Invoke, folder: Path) -> None:
    before = (folder / "results" / RUN.run_id / RUN_FILE).read_bytes()
    code, out, _ = invoke("run", "--resume", RUN.run_id, "--format", "json")
    assert code == 1, "the run holds a failed case"
    assert json.loads(out)["run_id"] == RUN.run_id
    assert (folder / "results" / RUN.run_id / RUN_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("measurements", "code"),
    [(RUN.measurements[:2], 0), (RUN.measurements, 1), (RUN.measurements[2:], 2)],
    ids=["all measured", "one failed", "all failed"],
)
def test_the_exit_code_tells_what_came_of_a_run(
    invoke: Invoke, folder: Path, measurements: tuple[object, ...], code: int
) -> None:
    run = msgspec.structs.replace(RUN, run_id="other", measurements=measurements)
    Store(folder / "results").write(run)
    assert invoke("run", "--resume", "other")[0] == code


def test_the_installed_command_refuses_wrong_use_also_of_names_that_are_no_unicode(folder: Path) -> None:
    finished = execute("report", b"caf\xe9", cwd=folder)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("stepbench: There is no run 'caf\\udce9'")


def test_nothing_heavy_is_loaded_for_help_a_report_or_a_refusal(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=folder, capture_output=True, text=True, check=True)
    help_, text, json_, refused = done.stdout.splitlines()
    assert [help_, text, json_] == ["--help", "report rich", "report --format json rich"]
    assert not {"tensorflow", "keras"} & set(refused.split())
    assert "--data must be auto" in done.stderr


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The output cannot be written (No space left on device): give",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b"),
            "a/b cannot be written (No space left on device): give",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b cannot be opened (Permission denied): check"),
    ],
)
def test_a_file_that_fails_is_named_with_what_failed(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, planted: OSError, words: str
) -> None:
    def fail(*_: object) -> None:
        raise planted

    monkeypatch.setattr(Store, "read", fail)
    code, out, err = invoke("report")
    assert (code, out) == (2, "")
    assert err.startswith(f"stepbench: {words}")


def test_a_full_output_is_told_as_one(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [STEPBENCH, "report"], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert finished.returncode == 2
    assert "stepbench: The output cannot be written (No space left on device)" in finished.stderr


def test_a_reader_that_leaves_early_gets_no_traceback(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        finished = subprocess.run(
            [STEPBENCH, "report"], cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(writer)
    assert finished.stderr == ""
