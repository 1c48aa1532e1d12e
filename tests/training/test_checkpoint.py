from __future__ import annotations

import dataclasses
import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import places
import pytest
from built import ready, workload_at
from numpy.typing import NDArray
from workloads import gan, kinds

import stepbench
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.checkpoint import Checkpoints
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.locate import Locatable
from stepbench.training.loop import Epoch, Order, Trainer
from stepbench.training.state import TrainState
from stepbench.training.task import open_task
from stepbench.training.workload import Workload

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

TABULAR = workload_at(f"{places.EXAMPLES}/tabular.py:workload")
TRAINING: dict[str, str | int | bool] = {"case": "a/graph/float32/cpu/b16", "seed": 0, "data": "synthetic"}
EPOCH = Epoch(1, {"loss": 1.5, "accuracy": 0.25}, seconds=2.0, examples=64)


def small_model(width: int = 3) -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(width)])


def state(seed: int = 0, model: Callable[[], keras.Model] = small_model) -> TrainState:
    workload = Workload("small", model, lambda _: ((np.zeros((2, 2)), np.zeros(2)), None))
    return ready(workload, batch_size=2, seed=seed).state


def values(of: TrainState) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in of.variables]


def same(ours: TrainState, theirs: TrainState) -> bool:
    return all(np.array_equal(mine, its) for mine, its in zip(values(ours), values(theirs), strict=True))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of one epoch, of a state from seed 1."""
    Checkpoints(tmp_path, TRAINING).save(state(seed=1), [EPOCH])
    return tmp_path / "epoch-0001.npz"


def refusal(folder: Path, training: dict[str, str | int | bool] = TRAINING) -> str:
    with pytest.raises(stepbench.StepbenchError) as caught:
        Checkpoints(folder, training).restore(state(), 99)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("workload", "shuffle"),
    [
        (TABULAR, True),
        (TABULAR, False),
        (kinds.stateful, False),
        (kinds.gan, True),
        (kinds.pipeline, False),
        (gan.training, False),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_continued_training_is_the_uninterrupted_one(workload: Locatable, shuffle: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest passes it by name.
    """To the last bit: weights, statistics, the state of layers and of random numbers, moments and figures."""
    source = resolve_source("synthetic", limit=80)
    if workload is TABULAR:
        workload = dataclasses.replace(TABULAR, data=lambda _: TABULAR.data(source).limited(80))

    def trainer() -> Trainer:
        case = Case(workload.name, Variant("graph", Precision.FLOAT32), Device.CPU, 8)
        return Trainer(case, open_task(workload, source), Order(seed=3, shuffle=shuffle))

    uninterrupted = trainer()
    expected = [uninterrupted.run_epoch(number) for number in (1, 2, 3)]

    checkpoints = Checkpoints(tmp_path, TRAINING)
    interrupted = trainer()
    checkpoints.save(interrupted.state, [interrupted.run_epoch(1)])
    interrupted.run_epoch(2)  # What came after the checkpoint is lost.

    continued = trainer()
    epochs = [*checkpoints.restore(continued.state, 99), continued.run_epoch(2), continued.run_epoch(3)]
    figures = [(epoch.number, epoch.figures, epoch.examples) for epoch in epochs]
    assert figures == [(epoch.number, epoch.figures, epoch.examples) for epoch in expected]
    assert same(continued.state, uninterrupted.state)
    assert continued.evaluate() == uninterrupted.evaluate()


def test_loss_scale_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    first, second = (ready(TABULAR, precision="mixed_float16", seed=seed).state for seed in (0, 1))
    first.optimizer.dynamic_scale.assign(1024.0)
    Checkpoints(tmp_path, TRAINING).save(first, [EPOCH])
    Checkpoints(tmp_path, TRAINING).restore(second, 99)
    assert float(second.optimizer.dynamic_scale) == 1024
    assert same(first, second)


@pytest.mark.parametrize("folder", ["", "new/folders"])
def test_without_a_checkpoint_nothing_is_restored(folder: str, tmp_path: Path) -> None:
    fresh = state()
    assert Checkpoints(tmp_path / folder, TRAINING).restore(fresh, 99) == ()
    assert same(fresh, state())
    assert (tmp_path / folder).is_dir()


def test_training_that_diverged_can_be_continued(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, TRAINING)
    checkpoints.save(state(), [Epoch(1, {"loss": math.nan, "accuracy": math.inf}, 1.0, 64)])
    (epoch,) = checkpoints.restore(state(), 99)
    assert math.isnan(epoch.loss)
    assert epoch.figures["accuracy"] == math.inf


def test_drafts_and_files_of_others_are_ignored_and_saving_leaves_none(saved: Path) -> None:
    assert os.listdir(saved.parent) == [saved.name]  # noqa: PTH208 - names are what is compared.
    (saved.parent / "epoch-0002.draft").write_bytes(saved.read_bytes()[:100])
    for name in ("epoch-best.npz", "epoch-0002.npz.bak", "notes.txt"):
        (saved.parent / name).write_text("mine")
    restored = state()
    assert Checkpoints(saved.parent, TRAINING).restore(restored, 99) == (EPOCH,)
    assert same(restored, state(seed=1))


def array_alone(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def with_another_header(good: bytes) -> bytes:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(good)) as stored:
        header = np.frombuffer(b'{"training":{},"epochs":[{"number":"1"}]}', np.uint8)
        np.savez(buffer, allow_pickle=False, **{**stored, "header": header})
    return buffer.getvalue()


def encrypted(good: bytes) -> bytes:
    content = bytearray(good)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        content[archive.start_dir + 8] |= 1  # The flag for encryption, in the directory's first entry.
    return bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[: len(good) // 2],
        lambda good: good[:-1],
        lambda good: good[:10],
        lambda _: b"",
        lambda _: b"not a checkpoint",
        lambda good: good.replace(b"NUMPY", b"NUMPX"),
        lambda good: b"".join((good[:200], b"\xff", good[201:])),
        lambda good: good.replace(b"v3.npy", b"x3.npy"),
        array_alone,
        with_another_header,
        encrypted,
    ],
    ids=[
        *("half", "without its last byte", "its begin", "empty", "text", "wrong magic", "one byte", "renamed"),
        *("array", "another header", "encrypted"),
    ],
)
def test_damaged_checkpoint_is_refused(damage: Callable[[bytes], bytes], saved: Path) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    message = refusal(saved.parent)
    assert str(saved) in message
    assert message.endswith(
        ("): delete it to continue from the one before.", "of another model: choose another --checkpoint.")
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_damage_shows_as_anything_but_a_refusal(seed: int, saved: Path) -> None:
    good = saved.read_bytes()
    random = np.random.default_rng(seed)
    fresh = state()
    for _ in range(100):
        damaged = bytearray(good)
        # Most of what can go wrong is in the directory at the archive's end.
        at = int(random.integers(0 if random.random() < 0.5 else len(good) * 3 // 4, len(good)))
        damaged[at] ^= 1 << int(random.integers(8))
        saved.write_bytes(damaged)
        try:
            epochs = Checkpoints(saved.parent, TRAINING).restore(fresh, 99)
        except stepbench.StepbenchError:
            continue
        assert epochs == (EPOCH,), "harmless: the archive's dates, for example"


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._made,)


@pytest.mark.parametrize("where", ["header", "v0", "file"])
def test_pickle_inside_a_checkpoint_is_not_executed(where: str, saved: Path, tmp_path: Path) -> None:
    made = tmp_path / "executed"
    pickled = np.array([Malicious(made)], dtype=object)
    with np.load(saved) as stored:
        arrays = dict(stored)
    buffer = io.BytesIO()
    if where == "file":
        pickled.dump(buffer)
    else:
        np.savez(buffer, allow_pickle=True, **{**arrays, where: pickled})
    saved.write_bytes(buffer.getvalue())
    assert "is damaged" in refusal(saved.parent)
    assert not made.exists()
    # The trap does work where pickles are allowed.
    content = np.load(saved, allow_pickle=True)
    _ = content if where == "file" else content[where]
    assert made.exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [({"seed": 1}, "seed"), ({"case": "a/b16"}, "case"), ({"seed": 1, "data": "", "limit": 1}, "data, limit, seed")],
)
def test_checkpoint_of_another_training_is_refused(other: dict[str, str | int | bool], told: str, saved: Path) -> None:
    message = refusal(saved.parent, TRAINING | other)
    assert message == f"{saved} belongs to a training with another {told}: choose another --checkpoint."


@pytest.mark.parametrize(
    "other",
    [
        lambda: small_model(4),
        lambda: keras.Sequential([small_model(), keras.layers.Dense(3)]),
        lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)]),
    ],
    ids=["wider", "deeper", "smaller"],
)
def test_checkpoint_of_another_model_is_refused_and_changes_nothing(
    other: Callable[[], keras.Model], saved: Path
) -> None:
    changed = state(model=other)
    with pytest.raises(stepbench.StepbenchError, match="belongs to a training of another model: choose another"):
        Checkpoints(saved.parent, TRAINING).restore(changed, 99)
    assert same(changed, state(model=other))


@pytest.mark.parametrize("folder", ["file", "file/below", "x" * 300])
def test_folder_that_cannot_be_made_is_refused_before_training(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal(tmp_path / folder)
    assert message.startswith(f"The folder {tmp_path / folder} cannot be made (")
    assert message.endswith("): choose another --checkpoint.")


def test_folder_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # The superuser, whom tests may run as, can write anywhere.
    assert refusal(tmp_path) == f"The folder {tmp_path} cannot be written: choose another --checkpoint."


def test_folder_that_vanished_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("gone", "file"):
        target = tmp_path / folder / "epoch-0001.npz"
        with pytest.raises(stepbench.StepbenchError) as caught:
            Checkpoints(tmp_path / folder, TRAINING).save(state(), [EPOCH])
        assert str(caught.value).startswith(f"The checkpoint {target} cannot be written (")
        assert str(caught.value).endswith("): choose another --checkpoint.")


def test_disk_that_is_full_leaves_the_earlier_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(stepbench.StepbenchError, match="No space left on device"):
        Checkpoints(saved.parent, TRAINING).save(state(), [EPOCH, EPOCH])
    assert os.listdir(saved.parent) == [saved.name]  # noqa: PTH208 - names are what is compared.
    assert Checkpoints(saved.parent, TRAINING).restore(state(), 99) == (EPOCH,)


def test_the_newest_checkpoint_is_restored_but_for_a_shorter_training_its_own_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, TRAINING)
    epochs = tuple(Epoch(number, {"loss": 1 / number}, 1.0, 64) for number in range(1, 12))
    for done in (2, 10, 11):
        checkpoints.save(state(seed=done), epochs[:done])
    restored = state()
    for asked, newest in ((2, 2), (10, 10), (99, 11)):
        assert checkpoints.restore(restored, asked) == epochs[:newest]
        assert same(restored, state(seed=newest))
