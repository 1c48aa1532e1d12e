"""Where a training of the built-in workload on CIFAR-10 should lie: the published table, and a band from our seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stepbench.judge.statistics import t_quantile
from stepbench.records.cases import Case

CURVE_FILE = Path(__file__).with_name("reference_curve.json")
"""Written by ``bench/published_curve.py``."""
WORKLOAD = "cifar-cnn"
BATCH_SIZE = 64
CONFIDENCE = 0.95


class Curves(msgspec.Struct):
    """Loss and accuracy in percent, epoch by epoch: as published, and of our seeds in graph/float32."""

    published_losses: list[float]
    published_accuracies: list[float]
    losses: dict[str, list[float]]
    accuracies: dict[str, list[float]]
    test_accuracies: dict[str, float]


def read_curves() -> Curves:
    """The stored curves."""
    return msgspec.json.decode(CURVE_FILE.read_bytes(), type=Curves)


def band(curves: Curves, epoch: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval that holds the loss of a further run after ``epoch`` (from 1 on) with that confidence.

    The prediction interval of a normal sample: mean ± t · s · √(1 + 1/n).
    """
    losses = [of_seed[epoch - 1] for of_seed in curves.losses.values()]
    count = len(losses)
    reach = t_quantile((1 + confidence) / 2, count - 1) * statistics.stdev(losses) * math.sqrt(1 + 1 / count)
    return statistics.fmean(losses) - reach, statistics.fmean(losses) + reach


def applies_to(case: Case, data: str, *, shuffled: bool, limited: bool) -> bool:
    """Whether a training is the one that the curves are about, whatever its variant."""
    same = (case.workload, case.batch_size, data) == (WORKLOAD, BATCH_SIZE, "cifar10")
    return same and not shuffled and not limited


def outside(losses: Sequence[float], curves: Curves, confidence: float = CONFIDENCE) -> list[str]:
    """A phrase for each epoch whose loss lies outside of the band."""
    phrases = []
    for epoch, loss in enumerate(losses[: len(curves.published_losses)], 1):
        low, high = band(curves, epoch, confidence)
        if not low <= loss <= high:
            phrases.append(f"epoch {epoch} {'above' if loss > high else 'below'} [{low:.3f}, {high:.3f}]")
    return phrases
