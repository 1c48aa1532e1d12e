"""``compare``, and ``gate`` and ``calibrate`` as far as they need no worker."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, make_case, make_failed, make_measurement, make_run
from invoking import Invoke
from paired import make_broken, make_calibration, make_gate, make_gate_case, noisy_pairs
from repositories import commit, make_repository

from stepbench.commands import gate as gating
from stepbench.errors import StepbenchError
from stepbench.judge import calibrate
from stepbench.judge.gate import judge_gate
from stepbench.probes.environment import collect
from stepbench.records.gate import Calibration, CalibrationGate, Gate, Revision
from stepbench.records.machine import Cpu
from stepbench.records.store import CALIBRATION_FILE, GATE_FILE, Run, Store

TIMES = (0.1, 0.1002, 0.0998)


def run_of(run_id: str, factor: float = 1.0, **changes: Any) -> Run:
    measurement = make_measurement(make_case(), *([factor * time] * 3 for time in TIMES))
    return make_run(measurement, run_id=run_id, **changes)


RUNS = (
    run_of("old"),
    run_of("same"),
    run_of("slower", 1.5),
    run_of("faster", 0.5),
    make_run(make_measurement(make_case(), [0.1]), run_id="single"),
    make_run(make_failed(make_case()), run_id="failed"),
    run_of("elsewhere", 2, environment=msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU"))),
)
CALIBRATION = make_calibration(
    [
        CalibrationGate(0.0, make_gate_case(*noisy_pairs(count=4))),
        CalibrationGate(0.05, make_gate_case(*noisy_pairs(0.05))),
    ]
)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a commit, and stored runs beside it."""
    made = tmp_path_factory.mktemp("pattern")
    store = Store(made / "results")
    for run in RUNS:
        store.write(run)
    commit(make_repository(made / "repository"), "One", step="1\n")
    (made / "empty").mkdir()
    return made


@pytest.fixture
def folder(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the working folder."""
    shutil.copytree(pattern, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(folder: Path, in_process: Invoke) -> Invoke:
    """Call the command line where there are runs."""
    assert folder.is_dir()
    return in_process


@pytest.mark.parametrize(
    ("new", "code", "verdict"),
    [
        ("same", 0, "PASS"),
        ("faster", 0, "IMPROVED"),
        ("slower", 1, "REGRESSION"),
        ("failed", 1, "MISSING"),
        ("single", 3, "INCONCLUSIVE"),
    ],
)
def test_the_exit_code_tells_what_came_of_a_comparison(invoke: Invoke, new: str, code: int, verdict: str) -> None:
    found, out, err = invoke("compare", "old", new)
    assert (found, err) == (code, "")
    assert out.startswith(f"{verdict}: run {new} against run old, threshold 2.0%")


def test_each_format_of_a_comparison_is_printed_alone_and_a_higher_threshold_lets_more_pass(invoke: Invoke) -> None:
    code, out, _ = invoke("compare", "old", "slower", "--format", "json")
    found = msgspec.json.decode(out)
    assert (code, found["schema"], found["verdict"], found["old"]) == (1, 1, "regression", "old")
    assert found["cases"][0]["ratio"]["value"] == pytest.approx(1.5)
    assert invoke("compare", "old", "slower", "--format", "markdown")[1].startswith("**REGRESSION: ")
    assert invoke("compare", "old", "slower", "--threshold", "60%")[0] == 0


def test_different_machines_are_judged_only_by_the_reader(invoke: Invoke) -> None:
    code, out, err = invoke("compare", "old", "elsewhere")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "The runs are of different machines (CPU: " in err
    code, out, _ = invoke("compare", "old", "elsewhere", "--allow-different-machines")
    assert code == 0
    assert out.startswith("NOT JUDGED: ")


GATE = ("gate", "--base", "HEAD", "--repo", "repository")
CALIBRATE = ("calibrate", "--budget", "1s")
WRONG = [
    (["compare", "old", "nope"], "There is no run 'nope'"),
    (["compare", "old", "same", "--threshold", "much"], "--threshold takes a share such as 2%, not 'much'"),
    (["compare", "old", "same", "--format", "csv"], "A comparison is no table of cases"),
    ([*GATE, "--threshold", "0"], "A gate takes a threshold above 0% and below 100%, not 0%"),
    ([*GATE, "--threshold", "-2%"], "--threshold takes a share such as 2%, not '-2%'"),
    ([*GATE, "--base", "nope"], "There is no revision 'nope' in "),
    ([*GATE, "--base=--help"], "There is no revision '--help' in "),
    ([*GATE, "--head", "nope"], "There is no revision 'nope' in "),
    ([*GATE, "--repo", "empty"], "empty lies in no git repository"),
    ([*GATE, "--budget", "soon"], "--budget takes a time such as 90s, 5m or 1h, not 'soon'"),
    ([*GATE, "--cases", "a,,b"], "--cases 'a,,b' has an empty part"),
    ([*GATE, "--data", "nowhere"], "--data must be auto, cifar10, synthetic or a folder with CIFAR-10"),
    ([*GATE, "--format", "csv"], "A verdict is no table"),
    ([*CALIBRATE, "--threshold", "0"], "A gate takes a threshold above 0% and below 100%, not 0%"),
    ([*CALIBRATE, "--slowdowns", "0%,much"], "--slowdowns takes a share such as 2%, not 'much'"),
    ([*CALIBRATE, "--resume", "nope"], "There is no calibration 'nope' in results"),
    ([*CALIBRATE, "--execution", "nope"], "There is no execution 'nope'"),
]


def test_wrong_use_exits_2_with_one_line_before_any_worker(invoke: Invoke, folder: Path) -> None:
    for arguments, words in WRONG:
        code, out, err = invoke(*arguments)
        (line,) = err.splitlines()
        assert line.startswith("stepbench: "), arguments
        assert words in line
        assert (code, out) == (2, ""), arguments
    assert not [path for kind in (GATE_FILE, CALIBRATION_FILE) for path in folder.rglob(kind)]


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        (make_gate(make_gate_case(*noisy_pairs(count=4))), 0),
        (make_gate(make_gate_case(*noisy_pairs(-0.2))), 0),
        (make_gate(make_gate_case(*noisy_pairs(0.2))), 1),
        (make_gate(make_broken()), 1),
        (make_gate(make_gate_case()), 3),
    ],
    ids=["pass", "improved", "regression", "broken", "inconclusive"],
)
def test_the_exit_code_tells_what_a_gate_found(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, gate: Gate, code: int
) -> None:
    monkeypatch.setattr(gating, "run_gate", lambda *_: gate)
    verdict = judge_gate(gate).verdict
    found, out, _ = invoke(*GATE, "--format", "json")
    assert (found, msgspec.json.decode(out)["verdict"]) == (code, verdict)
    assert invoke(*GATE)[1].startswith(f"{verdict.upper()}: ")
    assert invoke(*GATE, "--format", "markdown")[1].startswith(f"**{verdict.upper()}: ")


def test_a_gate_and_a_calibration_are_read_as_they_were_written(folder: Path) -> None:
    store = Store(folder / "gates")
    gate = make_gate(make_gate_case(*noisy_pairs()))
    store.write_gate(gate)
    content = (store.folder(gate.gate_id) / GATE_FILE).read_bytes()
    assert msgspec.json.decode(content, type=Gate) == gate
    store.write_calibration(CALIBRATION)
    assert store.read_calibration(CALIBRATION.calibration_id) == CALIBRATION


def test_a_calibration_is_found_by_its_own_id_alone_as_it_is_written_under_that(folder: Path) -> None:
    store = Store(folder / "gates")
    store.write_calibration(CALIBRATION)
    store.folder(CALIBRATION.calibration_id).rename(store.root / "other")
    for name in ("other", "../gates/other", str(store.root / "other")):
        with pytest.raises(StepbenchError, match=f"is of calibration '{CALIBRATION.calibration_id}': keep it"):
            store.read_calibration(name)


def test_names_that_are_no_unicode_cannot_be_stored_and_one_sentence_says_so(folder: Path) -> None:
    odd = make_gate(make_gate_case(), base=Revision("caf\udce9", "a" * 40))
    with pytest.raises(StepbenchError, match="use names in UTF-8"):
        Store(folder / "gates").write_gate(odd)
    assert not list((folder / "gates").rglob("*.json*"))


def test_the_newest_readable_calibration_of_a_machine_is_found(folder: Path) -> None:
    store = Store(folder / "gates")
    fingerprint = ENVIRONMENT.fingerprint
    assert store.newest_calibration(fingerprint) is None
    for number in (1, 2):
        store.write_calibration(msgspec.structs.replace(CALIBRATION, calibration_id=f"2026010{number}"))
    elsewhere = msgspec.structs.replace(ENVIRONMENT, cpu=Cpu(model="Another CPU"))
    store.write_calibration(msgspec.structs.replace(CALIBRATION, calibration_id="20260103", environment=elsewhere))
    store.write_calibration(msgspec.structs.replace(CALIBRATION, calibration_id="20260105", gates=()))
    (store.folder("20260104")).mkdir()
    (store.folder("20260104") / CALIBRATION_FILE).write_bytes(b"{")
    found = store.newest_calibration(fingerprint)
    assert isinstance(found, Calibration)
    assert found.calibration_id == "20260102"


def test_a_calibration_without_time_left_is_printed_from_what_is_stored(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "RESAMPLED", 20)
    here = msgspec.structs.replace(CALIBRATION, environment=collect(folder))
    Store(folder / "results").write_calibration(here)
    arguments = ("calibrate", "--resume", CALIBRATION.calibration_id, "--budget", "0.0000000001s")
    code, out, err = invoke(*arguments, "--format", "json")
    assert (code, err) == (0, "")
    found = msgspec.json.decode(out)
    assert set(found) == {"schema", "calibration_id", "case", "threshold", "rates", "power"}
    nothing, slower = found["rates"]
    assert (nothing["slowdown"], nothing["verdicts"]) == (0.0, {"pass": 1})
    assert (slower["slowdown"], slower["verdicts"]) == (0.05, {"regression": 1})
    assert invoke(*arguments)[1].startswith(f"calibration {CALIBRATION.calibration_id}: gates of {make_case().id}")
    assert invoke(*arguments, "--format", "markdown")[1].startswith("**calibration ")


def test_a_calibration_of_another_machine_is_not_continued(invoke: Invoke, folder: Path) -> None:
    Store(folder / "results").write_calibration(CALIBRATION)
    code, out, err = invoke("calibrate", "--resume", CALIBRATION.calibration_id, "--budget", "1s")
    assert (code, out) == (2, "")
    assert f"Calibration {CALIBRATION.calibration_id} is of another machine" in err
