"""Stored files that someone else wrote: every reader shows what it can, or says one sentence."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import places
import pytest
from builders import ENVIRONMENT, make_case, make_cases, make_events, make_measurement, make_plan, make_run
from invoking import Invoke
from paired import make_calibration, make_gate, make_gate_case, make_pairs, noisy_pairs

from stepbench.commands.gate import notes
from stepbench.errors import StepbenchError
from stepbench.judge.gate import judge_case, judge_gate
from stepbench.judge.moderated import estimates
from stepbench.records.cases import EAGER, GRAPH
from stepbench.records.gate import RAREST, CalibrationGate, Gate, GateSettings
from stepbench.records.settings import Setting
from stepbench.records.store import CALIBRATION_FILE, GATE_FILE, JOURNAL_FILE, RUN_FILE, TUNED_FILE, Store
from stepbench.records.store.files import decode, encode
from stepbench.records.tune import Change, Disqualified, Heat, Race, Stage
from stepbench.report.gate import report
from stepbench.report.summary import summarize
from stepbench.report.text import as_text
from stepbench.report.tune import chapters
from stepbench.report.tuned import summarize_race

KEPT_RUN = places.ROOT / "results" / "20261122-150828-4f90" / RUN_FILE
KEPT_CASES = ("cifar-cnn/eager/float32/cpu/b64", "cifar-cnn/graph/float32/cpu/b64")
SPOILT: tuple[Any, ...] = (
    None,
    -1,
    0,
    1,
    -0.5,
    1e-320,
    1e308,
    -1e308,
    2**63,
    "",
    "\x00",
    "x/..",
    True,
    [],
    {},
    [[]],
    {"": None},
)
"""What takes the place of a value."""
TRIALS = 6
"""Of each command; a hundred times as many among the slow tests."""
READERS = {
    "text": ("report", "one"),
    "json": ("report", "one", "--format", "json"),
    "markdown": ("report", "one", "--format", "markdown"),
    "csv": ("report", "one", "--format", "csv"),
    "page": ("report", "one", "--format", "html", "--output", "-"),
    "compare": ("compare", "two", "one"),
    "history": ("history",),
    "explain": ("explain", "graph/float32", "eager/float32", "--run", "one"),
}


def spoilt(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts, however deep, replaced, left out or said twice."""
    found = copy.deepcopy(value)
    part = found
    while True:
        key = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
        if isinstance(part[key], dict | list) and part[key] and rng.random() < 0.9:
            part = part[key]
            continue
        match rng.randrange(6):
            case 0:
                del part[key]
            case 1 if isinstance(part, list):
                part.append(part[key])
            case _:
                part[key] = rng.choice(SPOILT)
        return found


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """A run as it is stored, of two cases, with all that there may be: blocks, traces, work, curves."""
    run: dict[str, Any] = json.loads(KEPT_RUN.read_text())

    def of_two(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in found if case_id(one.get("case", one)) in KEPT_CASES]

    run["measurements"] = of_two(run["measurements"])
    run["plan"]["cases"] = of_two(run["plan"]["cases"])
    return run


def case_id(case: dict[str, Any]) -> str:
    variant = case["variant"]
    parts = (case["workload"], variant["execution"], variant["precision"], case["device"], f"b{case['batch_size']}")
    return "/".join(parts)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("trials", [TRIALS, pytest.param(100 * TRIALS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_of_a_run_that_was_tampered_with_ends_in_order(
    reader: str, trials: int, kept: dict[str, Any], in_process: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(f"{reader}/{trials}")  # noqa: S311 - it spoils.
    for name in ("one", "two"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / RUN_FILE).write_text(json.dumps({**kept, "run_id": name}))
    codes = set()
    for _ in range(trials):
        text = json.dumps(spoilt({**kept, "run_id": "one"}, rng))
        (tmp_path / "results" / "one" / RUN_FILE).write_text(text)
        code, out, err = in_process(*READERS[reader])
        assert code in (0, 1, 2, 3), err
        assert code == 0 or out or len(err.splitlines()) == 1, (code, err)
        codes.add(code)
    assert codes != {2}, "what does not matter is passed over"


@pytest.mark.parametrize("trials", [TRIALS, pytest.param(100 * TRIALS, marks=pytest.mark.slow)])
def test_a_journal_that_was_tampered_with_is_read_or_refused(trials: int, tmp_path: Path) -> None:
    rng = random.Random(trials)  # noqa: S311 - it spoils.
    cases = make_cases(2)
    store = Store(tmp_path)
    run = store.create(make_plan(cases), ENVIRONMENT, command=("stepbench", "run"), data="synthetic")
    events = [json.loads(encode(event)) for case in cases for event in make_events(case, 3)]
    read = 0
    for _ in range(trials):
        lines = [json.dumps(event) for event in spoilt(events, rng)]
        (store.folder(run.run_id) / JOURNAL_FILE).write_text("\n".join(lines) + "\n")
        with contextlib.suppress(StepbenchError):
            summarize(store.read(run.run_id))
            read += 1
    assert read, "what does not matter is passed over"


@pytest.mark.parametrize("trials", [TRIALS, pytest.param(100 * TRIALS, marks=pytest.mark.slow)])
def test_a_calibration_that_was_tampered_with_costs_the_note_on_it_alone(trials: int, tmp_path: Path) -> None:
    rng = random.Random(trials)  # noqa: S311 - it spoils.
    gates = [CalibrationGate(slowdown, make_gate_case(*noisy_pairs(slowdown))) for slowdown in (0.0, 0.05)]
    calibration = make_calibration(gates)
    store = Store(tmp_path)
    store.write_calibration(calibration)
    known = json.loads(encode(calibration))
    gate = make_gate(make_gate_case(*noisy_pairs()))
    said = set()
    for _ in range(trials):
        (store.folder(calibration.calibration_id) / CALIBRATION_FILE).write_text(json.dumps(spoilt(known, rng)))
        said.add(notes(gate, store))
    assert all(len(sentences) == 1 for sentences in said)


@pytest.mark.parametrize("trials", [TRIALS, pytest.param(100 * TRIALS, marks=pytest.mark.slow)])
def test_a_gate_that_was_tampered_with_is_judged_or_refused(trials: int, tmp_path: Path) -> None:
    rng = random.Random(trials)  # noqa: S311 - it spoils.
    cases = [make_gate_case(*noisy_pairs(slowdown), case=make_case(f"at-{slowdown}")) for slowdown in (0.0, 0.05)]
    known = json.loads(encode(make_gate(*cases)))
    judged = 0
    for _ in range(trials):
        (tmp_path / GATE_FILE).write_text(json.dumps(spoilt(known, rng)))
        with contextlib.suppress(StepbenchError):
            gate = decode(tmp_path / GATE_FILE, Gate)
            report(gate, judge_gate(gate))
            judged += 1
    assert judged, "what does not matter is passed over"


def test_numbers_out_of_all_proportion_overflow_nothing() -> None:
    settings = GateSettings(false_alarms=RAREST)
    assert judge_case(make_gate_case(*make_pairs(0.0, 0.0, 0.0, 46.0)), settings).smallest_detectable == math.inf
    found = estimates({0: [-85.0, 85.0, 85.0]}, 1 - 0.05 / 9)[0]
    assert found.low is not None
    assert found.low < 1e-300
    assert found.high == math.inf


@pytest.mark.parametrize("trials", [TRIALS, pytest.param(100 * TRIALS, marks=pytest.mark.slow)])
def test_a_race_that_was_tampered_with_is_read_or_refused(trials: int, tmp_path: Path) -> None:
    rng = random.Random(trials)  # noqa: S311 - it spoils.
    default, slow = make_case(GRAPH), make_case(EAGER)
    fast = make_case(GRAPH, settings=(Setting("intra_threads", "1"),))
    seconds = {default: 0.1, slow: 0.3, fast: 0.05}
    measured = [make_measurement(case, *[[mean, mean * 1.01]] * 8) for case, mean in seconds.items()]
    ways = (Change(execution=EAGER), Change(settings=fast.settings))
    heats = [Heat(number, 0, tuple(seconds), 10.0) for number in range(5)]
    again = [Heat(number, 2, (default, fast), 5.0) for number in range(5, 8)]
    out = Disqualified(slow.variant, "another loss", 20.0)
    race = Race(
        run_id="one",
        default=default,
        stages=(Stage("ways", ways),),
        budget_s=60.0,
        heats=tuple(heats),
        again=tuple(again),
        disqualified=(out,),
        winner=fast,
        spent_s=65.0,
        finished=True,
    )
    honest, store, read = json.loads(encode(race)), Store(tmp_path), 0
    store.write_race(race)
    for _ in range(trials):
        (tmp_path / "one" / TUNED_FILE).write_text(json.dumps(spoilt(honest, rng)))
        with contextlib.suppress(StepbenchError):
            assert as_text(chapters(summarize_race(store.read_race("one"), make_run(*measured))))
            read += 1
    assert read, "what does not matter is passed over"
