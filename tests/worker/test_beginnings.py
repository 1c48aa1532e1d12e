"""What a training begins from is a fresh build from its seed, though most are drawn without one."""

from __future__ import annotations

from pathlib import Path

import places
import pytest

from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.records.protocol import MakeReady
from stepbench.training.task import task_named
from stepbench.worker.verify import Verifier, _beginnings, _digest_of

OWN = """
import keras, numpy as np, tensorflow as tf
import stepbench

DRAW = {draw}

def model():
    dense = keras.layers.Dense(3, kernel_initializer=lambda shape, dtype=None: tf.cast(DRAW(shape), dtype))
    return keras.Sequential([keras.Input((4,)), dense, keras.layers.Dense(2)])

def data(source):
    x, y = np.ones((64, 4), "float32"), np.zeros(64, "int32")
    return stepbench.Dataset(x, y, x, y)

workload = stepbench.Workload("own", model, data)
"""
DRAWS = {
    "numpy": ("np.random.normal", True),
    "tensorflow": ("tf.random.normal", False),
    "keras": ("keras.random.normal", False),
}
"""How weights are drawn, and whether a build can be spared."""


def verifier(workload: str) -> Verifier:
    case = Case("own", Variant("graph", Precision.MIXED_BFLOAT16), Device.CPU, 16)
    return Verifier(MakeReady(case, workload, (), "synthetic", 0))


def begun(found: Verifier, workload: str, seed: int) -> tuple[str, str]:
    """What a training begins from, and what a build in full gives."""
    mine = _digest_of(found._fresh(seed))
    return mine, _digest_of(_beginnings(task_named(workload, "synthetic").build("mixed_bfloat16", seed, 16)))


def test_a_training_begins_from_its_seed_without_a_build() -> None:
    workload = f"{places.TINY}:workload"
    found = verifier(workload)
    digests = set()
    for seed in (0, 5, 1):
        mine, whole = begun(found, workload, seed)
        assert mine == whole
        digests.add(mine)
    assert len(digests) == 3
    assert found._is_quick


@pytest.mark.parametrize(("draw", "is_spared"), DRAWS.values(), ids=DRAWS)
def test_what_is_drawn_in_another_way_has_its_build(draw: str, *, is_spared: bool, tmp_path: Path) -> None:
    file = tmp_path / f"own_{draw.replace('.', '_')}.py"
    file.write_text(OWN.format(draw=draw))
    workload = f"{file}:workload"
    found = verifier(workload)
    for seed in (0, 7):
        mine, whole = begun(found, workload, seed)
        assert mine == whole
    assert found._is_quick is is_spared
