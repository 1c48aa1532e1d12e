"""``history`` and ``baseline``, which start no worker and never load TensorFlow."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from builders import make_case, make_measurement
from histories import CASE, run_at, stepping
from invoking import Invoke

from stepbench.probes.environment import collect
from stepbench.records.store import BASELINES_FOLDER, LATEST, RUN_FILE, Store

RUNS = stepping()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stored runs of two cases, the last one alone of ``xla``."""
    made = tmp_path_factory.mktemp("pattern")
    store = Store(made / "results")
    for run in RUNS:
        store.write(run)
    both = (*RUNS[-1].measurements, make_measurement(make_case("xla"), [0.1], [0.1]))
    plan = msgspec.structs.replace(RUNS[-1].plan, cases=tuple(found.case for found in both))
    store.write(msgspec.structs.replace(RUNS[-1], measurements=both, plan=plan))
    (made / "results" / LATEST).symlink_to(RUNS[-1].run_id)
    (made / "empty").mkdir()
    return made


@pytest.fixture
def folder(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the working folder."""
    shutil.copytree(pattern, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for variable in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def invoke(folder: Path, in_process: Invoke) -> Invoke:
    """Call the command line where there are runs."""
    assert folder.is_dir()
    return in_process


WRONG = [
    (["history", "--format", "html"], "This is no page: use --format text, json, markdown or csv"),
    (["baseline", "list", "--format", "html"], "This is no page: use --format text, json, markdown or csv"),
    (["history", "nope"], "There is no case 'nope': use an id such as cnn/graph/float32/cpu/b64"),
    (["history", "cpu"], "'cpu' names 2 cases: use an id such as cnn/graph/float32/cpu/b64, cnn/xla/"),
    (["history", "--results", "empty"], "There is no run in empty to be read: make one with 'stepbench run'"),
    (["history", "--results", "nowhere"], "There is no run in nowhere to be read"),
    (["history", "graph", "--last", "0"], "--last must be at least 1, not 0"),
    (["history", "--output", "plot.svg"], "--output draws the history of a case: name the case"),
    (["history", "graph", "--output", "plot.pdf"], "--output draws .svg and .png files"),
    (["history", "graph", "--output", "nowhere/plot.svg"], "nowhere/plot.svg cannot be written (No such file"),
    (["baseline", "save", "../x"], "'../x' is no name for a baseline"),
    (["baseline", "save", "good", "nope"], "There is no run 'nope'"),
    (["baseline", "save", "run-00"], "'run-00' is the id of a run"),
    (["baseline", "show", "nope"], "There is no baseline 'nope' in results: see 'stepbench baseline list'"),
]


def test_wrong_use_exits_2_with_one_line(invoke: Invoke, folder: Path) -> None:
    for arguments, words in WRONG:
        code, _, err = invoke(*arguments)
        (line,) = err.splitlines()
        assert (code, line.startswith("stepbench: ")) == (2, True), arguments
        assert words in line
    assert not list(folder.glob("**/plot.*"))


def test_a_case_is_followed_by_its_id_or_a_part_in_every_format(invoke: Invoke) -> None:
    code, out, err = invoke("history", CASE.id)
    assert (code, err) == (0, "")
    assert out.startswith("cnn/graph/float32/cpu/b64 over 16 runs\n")
    assert invoke("history", "graph")[1] == out
    history = msgspec.json.decode(invoke("history", "graph", "--format", "json")[1])
    assert (history["schema"], history["case"], len(history["points"])) == (1, CASE.id, 16)
    assert [change["run"] for series in history["series"] for change in series["changes"]] == ["run-08"]
    assert "| run-08 |" in invoke("history", "graph", "--format", "markdown")[1]
    rows = csv.DictReader(io.StringIO(invoke("history", "graph", "--format", "csv", "--last", "3")[1]))
    assert [row["run"] for row in rows] == ["run-13", "run-14", "run-15"]


def test_runs_are_listed_in_every_format(invoke: Invoke) -> None:
    code, out, err = invoke("history")
    assert (code, err) == (0, "")
    assert out.startswith("16 stored runs\n")
    listed = msgspec.json.decode(invoke("history", "--format", "json", "--last", "2")[1])
    assert [run["name"] for run in listed["runs"]] == ["run-14", "run-15"]
    assert "| run-08 |" in invoke("history", "--format", "markdown")[1]
    assert len(list(csv.DictReader(io.StringIO(invoke("history", "--format", "csv")[1])))) == 16


def test_a_damaged_run_costs_a_line_beside_the_output(invoke: Invoke, folder: Path) -> None:
    (folder / "results" / "run-03" / RUN_FILE).write_bytes(b"{")
    for arguments in (("history",), ("history", "graph"), ("history", "graph", "--format", "json")):
        code, out, err = invoke(*arguments)
        (line,) = err.splitlines()
        assert code == 0
        assert line.startswith(f"stepbench: results/run-03/{RUN_FILE} is damaged")
        assert "run-03" not in out
        assert "run-04" in out


def test_a_history_is_drawn_beside_being_printed(invoke: Invoke, folder: Path) -> None:
    plain = invoke("history", "graph")
    assert invoke("history", "graph", "--output", "plot.png") == plain
    assert (folder / "plot.png").stat().st_size > 1000


def test_a_baseline_is_saved_listed_shown_and_compared_with(invoke: Invoke, folder: Path) -> None:
    code, out, _ = invoke("baseline", "save", "good", "run-00")
    assert (code, out) == (0, f"Baseline good is kept in results/{BASELINES_FOLDER}/good/{RUN_FILE}.\n")
    assert invoke("baseline", "save", "good")[0] == 2
    assert invoke("compare", "good", "run-12", "--threshold", "5%")[0] == 1
    assert invoke("compare", "good", "run-12")[1].startswith("REGRESSION: run run-12 against run run-00")
    assert invoke("report", "good")[1] == invoke("report", "run-00")[1]
    assert invoke("baseline", "save", "good", "--force")[0] == 0
    (listed,) = msgspec.json.decode(invoke("baseline", "list", "--format", "json")[1])["runs"]
    assert (listed["name"], listed["run_id"], listed["this_machine"]) == ("good", "run-15", False)
    assert "good      run-15" in invoke("baseline", "list")[1]
    out = invoke("baseline", "show", "good")[1]
    assert out.startswith(invoke("report", "run-15")[1])
    assert "Baseline good is of another machine" in out.splitlines()[-1]
    assert (folder / "results" / BASELINES_FOLDER / "good" / RUN_FILE).exists()


def test_a_baseline_of_this_machine_says_so_and_leaves_other_formats_alone(invoke: Invoke, folder: Path) -> None:
    here = msgspec.structs.replace(collect(folder), forks=True)
    Store(folder / "results").write(run_at(20, 10, environment=here))
    invoke("baseline", "save", "here", "run-20")
    assert invoke("baseline", "show", "here")[1].endswith("Baseline here is of this machine.\n")
    code, out, err = invoke("baseline", "show", "here", "--format", "json")
    assert (code, msgspec.json.decode(out)["run_id"]) == (0, "run-20")
    assert err == "Baseline here is of this machine.\n"
    assert msgspec.json.decode(invoke("baseline", "list", "--format", "json")[1])["runs"][0]["this_machine"]


COMMANDS = """
import contextlib, sys
from stepbench import cli

for arguments in ("baseline save good", "history", "baseline list", "baseline show good", "history graph"):
    sys.argv = ["stepbench", *arguments.split()]
    with contextlib.suppress(SystemExit):
        cli.main()
    heavy = {"tensorflow", "keras", "scipy", "tensorboard", "matplotlib"} & set(sys.modules)
    print(arguments, sorted(heavy), sep=": ", file=sys.stderr)
"""


def test_what_is_stored_is_read_without_anything_heavy(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=folder, capture_output=True, text=True, check=True)
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == ["[]"] * 5
