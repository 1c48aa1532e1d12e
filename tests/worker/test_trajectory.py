from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stepbench.worker.forced import Outcome, Snapshot
from stepbench.worker.tensors import Rows
from stepbench.worker.trajectory import (
    Allowance,
    Target,
    TrajectoryHeader,
    load_header,
    load_targets,
    save_header,
    save_target,
)

pytestmark = pytest.mark.tensorflow

BATCH = (
    {"text": tf.constant([["a", "longer"], ["", "é"]]), "ids": tf.ragged.constant([[1, 2], [3]])},
    (tf.constant([1.5, 2.5], tf.float64), tf.constant([True, False])),
)
ALLOWANCE = Allowance(1e-7, [0.1, 0.2, 0.0], [0.3], [])


def outcome(loss: float) -> Outcome:
    return Outcome(
        loss=loss,
        names=["table", "kernel", "unused"],
        gradients=[Rows(np.array([2, 2]), np.ones((2, 3)) * loss, (5, 3)), np.arange(4.0), None],
        changes=[np.full((5, 3), loss), np.zeros(4)],
        statistics=[np.array([loss])],
    )


def target(step: int, steps_per_call: int = 1) -> Target:
    return Target(
        step=step,
        steps_per_call=steps_per_call,
        snapshot=Snapshot(
            [np.ones((5, 3), np.float32), np.array([7], np.int64)],
            [[np.array(step), np.zeros(3, np.float32)], [], [np.array(2.0)]],
        ),
        batch=BATCH,
        rights={"float64": outcome(1.0), "mixed_bfloat16": outcome(2.0)},
        rounding={"float32": ALLOWANCE, "mixed_bfloat16": Allowance(1e-3, [], [], [1.0])},
        jumps=ALLOWANCE,
    )


def assert_alike(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Rows | Outcome | Snapshot | Allowance):
        for name in one.__dataclass_fields__:
            assert_alike(getattr(one, name), getattr(other, name))
    elif isinstance(one, list):
        for mine, theirs in zip(one, other, strict=True):
            assert_alike(mine, theirs)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_a_point_is_read_as_it_was_written_with_a_batch_of_any_structure(tmp_path: Path) -> None:
    written = target(30)
    save_target(written, tmp_path)
    (read,) = load_targets(tmp_path, 1, BATCH)
    assert (read.step, read.rounding, read.jumps) == (30, written.rounding, written.jumps)
    assert_alike(read.snapshot, written.snapshot)
    assert read.rights.keys() == written.rights.keys()
    for name, right in written.rights.items():
        assert_alike(read.rights[name], right)
    tf.nest.assert_same_structure(read.batch, BATCH)
    pairs = zip(*(tf.nest.flatten(batch, expand_composites=True) for batch in (read.batch, BATCH)), strict=True)
    for mine, right in pairs:
        assert mine.dtype == right.dtype
        np.testing.assert_array_equal(mine.numpy(), right.numpy())


def test_points_come_in_their_order_and_calls_of_several_steps_apart(tmp_path: Path) -> None:
    for step in (300, 3, 10, 0):
        save_target(target(step), tmp_path)
    save_target(target(3, steps_per_call=5), tmp_path)
    assert [found.step for found in load_targets(tmp_path, 1, BATCH)] == [0, 3, 10, 300]
    assert [found.step for found in load_targets(tmp_path, 5, BATCH)] == [3]
    assert not list(load_targets(tmp_path, 2, BATCH))


def test_a_step_without_weights_gradients_or_optimizers_is_kept_too(tmp_path: Path) -> None:
    bare = Target(0, 1, Snapshot([], []), tf.constant([1.0]), {"float32": Outcome(0.5)}, {}, Allowance(0, [], [], []))
    save_target(bare, tmp_path)
    (read,) = load_targets(tmp_path, 1, tf.constant([0.0]))
    assert_alike(read.snapshot, bare.snapshot)
    assert_alike(read.rights["float32"], bare.rights["float32"])


@pytest.mark.parametrize("why", [None, "the step draws random numbers"])
def test_the_header_is_read_as_it_was_written(why: str | None, tmp_path: Path) -> None:
    header = TrajectoryHeader({"float32": "float64"}, {"mixed_bfloat16": "because"}, why, is_random=why is not None)
    save_header(header, tmp_path)
    assert load_header(tmp_path) == header
