from __future__ import annotations

import msgspec
import pytest
from builders import make_case

from stepbench.judge.reference_curve import applies_to, band, outside, read_curves
from stepbench.records.cases import Case, Device, Precision, Variant

CURVES = read_curves()
CLASSIC = Case("cifar-cnn", Variant("graph", Precision.FLOAT32), Device.CPU, 64)


def test_the_published_table_lies_within_the_band_of_our_seeds() -> None:
    assert len(CURVES.published_losses) == 10
    assert outside(CURVES.published_losses, CURVES) == []


@pytest.mark.parametrize("seed", CURVES.losses)
def test_each_of_our_seeds_lies_within_the_band_of_the_others(seed: str) -> None:
    others = {other: losses for other, losses in CURVES.losses.items() if other != seed}
    assert outside(CURVES.losses[seed], msgspec.structs.replace(CURVES, losses=others), confidence=0.995) == []


def test_a_curve_that_learns_too_slowly_or_seems_to_learn_too_fast_is_told_apart() -> None:
    slow = [loss * 1.15 for loss in CURVES.published_losses]
    phrases = outside(slow, CURVES)
    assert phrases
    assert phrases[-1].startswith("epoch 10 above [")
    assert outside([loss * 0.85 for loss in CURVES.published_losses], CURVES)[-1].startswith("epoch 10 below [")


def test_the_band_is_the_prediction_interval() -> None:
    """Of 0, 1 and 2: mean 1, standard deviation 1; t(0.995, 2) = 9.9248 and the root of 4/3 give 11.4602."""
    curves = msgspec.structs.replace(CURVES, losses={"0": [0.0], "1": [1.0], "2": [2.0]})
    assert band(curves, 1, confidence=0.99) == pytest.approx((-10.4602, 12.4602), abs=1e-3)


def test_the_band_is_only_about_the_classic_training() -> None:
    assert applies_to(CLASSIC, "cifar10", shuffled=False, limited=False)
    assert not applies_to(CLASSIC, "synthetic", shuffled=False, limited=False)
    assert not applies_to(CLASSIC, "cifar10", shuffled=True, limited=False)
    assert not applies_to(CLASSIC, "cifar10", shuffled=False, limited=True)
    assert not applies_to(msgspec.structs.replace(CLASSIC, batch_size=32), "cifar10", shuffled=False, limited=False)
    assert not applies_to(make_case(), "cifar10", shuffled=False, limited=False)
