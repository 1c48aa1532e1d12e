"""CIFAR-10's two layouts: read as published, and every fault refused by the file's name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from stepbench.errors import StepbenchError
from stepbench.training.cifar10 import load_cifar10
from stepbench.training.data import load_images, resolve_source
from stepbench.training.workload import Dataset

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
RECORD = 1 + 3072
SIZE = 10_000 * RECORD


@pytest.fixture(scope="module")
def real() -> Path:
    """The folder with the published python batches."""
    if not os.environ.get("STEPBENCH_DATA"):
        pytest.skip("STEPBENCH_DATA names no folder with CIFAR-10")
    folder = resolve_source("cifar10").folder
    if folder is None or not (folder / "data_batch_1").exists():
        pytest.skip("STEPBENCH_DATA holds no python batches")
    return folder


@pytest.fixture(scope="module")
def full(real: Path) -> Dataset:
    return load_cifar10(real)


def write_binary(folder: Path, name: str, labels: np.ndarray, pixels: np.ndarray) -> None:
    """One batch as the binary layout has it: a label and 3072 pixels, channels first, in each record."""
    records = np.empty((len(labels), RECORD), np.uint8)
    records[:, 0], records[:, 1:] = labels, pixels
    folder.mkdir(exist_ok=True)
    records.tofile(folder / f"{name}.bin")
    os.truncate(folder / f"{name}.bin", SIZE)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A first training batch and a test batch in the binary layout, of made-up contents; zeros after 100 records."""
    folder = tmp_path / "cifar-10-batches-bin"
    for name, offset in (("data_batch_1", 0), ("test_batch", 5)):
        labels = (np.arange(100) + offset) % 10
        write_binary(folder, name, labels, np.broadcast_to(np.arange(3072, dtype=np.uint16) % 251, (100, 3072)))
    return folder


class Planted:
    """Unpickled, it leaves a file behind."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.witness,))


def test_a_malicious_pickle_is_refused_unopened(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    payload = pickle.dumps(Planted(witness))
    (tmp_path / "data_batch_1").write_bytes(payload)
    with pytest.raises(StepbenchError, match=r"data_batch_1 is not the published file .* not unpickled"):
        load_cifar10(tmp_path, limit=1)
    assert not witness.exists()
    pickle.loads(payload)  # noqa: S301 - our own: shows that the payload does run when it is unpickled.
    assert witness.exists()


@pytest.mark.parametrize("damage", ["empty", "truncated", "tampered", "longer"])
def test_a_damaged_python_batch_is_refused(real: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray((real / "data_batch_1").read_bytes())
    if damage == "tampered":
        content[12_345_678] ^= 1
    elif damage == "longer":
        content += b"\0"
    else:
        del content[0 if damage == "empty" else -1 :]
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(StepbenchError, match="data_batch_1 is not the published file"):
        load_cifar10(tmp_path, limit=1)


def test_a_batch_under_anothers_name_is_refused(real: Path, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").symlink_to(real / "data_batch_2")
    with pytest.raises(StepbenchError, match="data_batch_1 is not the published file"):
        load_cifar10(tmp_path, limit=1)


@pytest.mark.parametrize(("missing", "limit"), [("data_batch_1", None), ("data_batch_2", 10_001), ("test_batch", 1)])
def test_a_missing_python_batch_is_named(real: Path, tmp_path: Path, missing: str, limit: int | None) -> None:
    for name in set(NAMES) - {missing}:
        (tmp_path / name).symlink_to(real / name)
    with pytest.raises(StepbenchError, match=rf"{missing} cannot be read \(No such file"):
        load_cifar10(tmp_path, limit)


def test_batches_behind_the_limit_may_be_missing_and_the_bytes_that_were_checked_are_those_unpickled(
    real: Path, full: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = Path.open

    def counted(self: Path, mode: str) -> object:
        opened.append(self.name)
        return original(self, mode)

    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (tmp_path / name).symlink_to(real / name)
    monkeypatch.setattr(Path, "open", counted)
    limited = load_images(resolve_source(str(tmp_path), limit=10_001, environ={}))
    assert_prefix(limited, full, 10_001, 10_000)
    assert opened == ["data_batch_1", "data_batch_2", "test_batch"], "each needed file once, and no other"


def assert_prefix(limited: Dataset, full: Dataset, train: int, test: int) -> None:
    np.testing.assert_array_equal(limited.x_train, full.x_train[:train])
    np.testing.assert_array_equal(limited.y_train, full.y_train[:train])
    np.testing.assert_array_equal(limited.x_test, full.x_test[:test])
    np.testing.assert_array_equal(limited.y_test, full.y_test[:test])


@pytest.mark.parametrize("limit", [1, 512])
def test_a_limited_set_is_the_beginning_of_the_full_one(real: Path, full: Dataset, limit: int) -> None:
    assert_prefix(load_cifar10(real, limit), full, limit, limit)


def test_the_full_set_is_as_published(full: Dataset) -> None:
    assert full.x_train.shape == (50_000, 32, 32, 3)
    assert full.x_test.shape == (10_000, 32, 32, 3)
    assert full.x_train.dtype == np.float32
    assert full.y_train.dtype == full.y_test.dtype == np.int64
    assert (full.x_train.min(), full.x_train.max()) == (0, 1)
    assert full.y_train[:5].tolist() == [6, 9, 9, 4, 1]
    assert np.bincount(full.y_train).tolist() == [5000] * 10
    assert np.bincount(full.y_test).tolist() == [1000] * 10


def test_the_pixels_are_where_keras_puts_them(real: Path, full: Dataset) -> None:
    for name, images in (("data_batch_5", full.x_train[40_000:]), ("test_batch", full.x_test)):
        batch = pickle.loads((real / name).read_bytes(), encoding="bytes")  # noqa: S301 - `full` checked its MD5.
        for row in (0, 9_999):
            expected = batch[b"data"][row].reshape(3, 32, 32).transpose(1, 2, 0).astype(np.float32) / 255
            np.testing.assert_array_equal(images[row], expected)


def test_both_layouts_give_the_same_arrays(real: Path, full: Dataset, tmp_path: Path) -> None:
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        batch = pickle.loads((real / name).read_bytes(), encoding="bytes")  # noqa: S301 - `full` checked its MD5.
        write_binary(tmp_path, name, batch[b"labels"], batch[b"data"])
    assert_prefix(load_cifar10(tmp_path, limit=12_000), full, 12_000, 10_000)


def test_the_binary_layout_is_read(binary: Path) -> None:
    images = load_images(resolve_source(str(binary.parent), limit=20, environ={}))
    assert images.x_train.shape == images.x_test.shape == (20, 32, 32, 3)
    assert images.y_train.tolist() == [*range(10)] * 2
    assert images.y_test[:3].tolist() == [5, 6, 7]
    row, column, channel = 3, 4, 2
    value = (channel * 1024 + row * 32 + column) % 251
    assert images.x_train[7, row, column, channel] == np.float32(value) / np.float32(255)


@pytest.mark.parametrize("change", [-30_730_000, -1, 1, 40_000_000])
def test_a_binary_batch_of_another_size_is_refused(binary: Path, change: int) -> None:
    os.truncate(binary / "test_batch.bin", SIZE + change)
    with pytest.raises(StepbenchError, match=r"test_batch\.bin does not have the published 30,730,000 bytes"):
        load_cifar10(binary, limit=1)


@pytest.mark.parametrize("label", [10, 255])
def test_a_binary_label_out_of_range_is_refused(binary: Path, label: int) -> None:
    with (binary / "data_batch_1.bin").open("r+b") as file:
        file.seek(9_999 * RECORD)
        file.write(bytes([label]))
    with pytest.raises(StepbenchError, match=rf"data_batch_1\.bin has a label {label}"):
        load_cifar10(binary, limit=1)


def test_a_missing_binary_batch_is_named(binary: Path) -> None:
    with pytest.raises(StepbenchError, match=r"data_batch_2\.bin cannot be read"):
        load_cifar10(binary, limit=10_001)


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_a_folder_in_place_of_a_batch_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"data_batch_1{suffix}").mkdir()
    with pytest.raises(StepbenchError, match=rf"data_batch_1{suffix} cannot be read \(Is a directory\)"):
        load_cifar10(tmp_path, limit=1)


def test_an_unreadable_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_batch_1").touch()

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Planted in Path.open, because root may read what a mode forbids.
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StepbenchError, match=r"data_batch_1 cannot be read \(Permission denied\)"):
        load_cifar10(tmp_path, limit=1)


def test_a_folder_without_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepbenchError, match="holds no CIFAR-10 batch files"):
        load_cifar10(tmp_path)


def test_an_endless_file_is_refused_without_filling_the_memory(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").symlink_to("/dev/zero")
    with pytest.raises(StepbenchError, match="data_batch_1 is not the published file"):
        load_cifar10(tmp_path, limit=1)
