from __future__ import annotations

import pytest
from builders import make_case
from paired import make_calibration, make_gate_case, noisy_pairs
from shown import printed, read

from stepbench.judge import calibrate as judging
from stepbench.records.gate import CalibrationGate
from stepbench.report.calibrate import HEADS, blocks, calibrated, quote

SLOWER = make_gate_case(*noisy_pairs(0.1))
SAME = make_gate_case(*noisy_pairs(count=4))


def test_a_calibration_shows_what_was_planted_and_how_often_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLED", 3)  # Four hundred take seconds.
    gates = [CalibrationGate(0.1, SLOWER), CalibrationGate(0.0, SAME), CalibrationGate(0.0, SAME)]
    calibration = make_calibration(gates)
    measured = calibrated(calibration)
    first, _, nothing, slower, *curve = printed([blocks(measured)]).splitlines()
    assert first == f"calibration 20260102-030405-cafe: gates of {make_case().id}, threshold 2.0%"
    assert nothing.split() == ["nothing", "2", "0", "2", "0", "0%", "[0%,", "84%]", "48.0", "s"]
    assert slower.split()[:6] == ["+10.0%", "1", "1", "0", "0", "100%"]
    said = " ".join(curve)
    assert said.startswith("By resampling these pairs, this share of gates would call a regression: 0% with nothing, ")
    assert [row[0] for row in read([blocks(measured)]).rows] == ["planted", "nothing", "+10.0%"]


def test_a_calibration_without_gates_is_a_table_without_rows() -> None:
    nothing = calibrated(make_calibration())
    assert read([blocks(nothing)]).rows == [list(HEADS)]


def test_a_gate_says_how_often_gates_are_right_here() -> None:
    gates = (CalibrationGate(0.0, SAME), CalibrationGate(0.0, SLOWER), CalibrationGate(0.05, SLOWER))
    calibration = make_calibration(gates)
    assert quote(calibration) == (
        f"on this machine, gates of {make_case().id} with a threshold of 2.0% have called a regression: "
        "1 of 2 of identical code, 1 of 1 with +5.0% planted"
    )


def test_of_a_machine_that_was_never_calibrated_it_is_said() -> None:
    assert "is not known: 'stepbench calibrate' measures it" in quote(None)
