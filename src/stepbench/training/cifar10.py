"""CIFAR-10 as published, in its python and its binary layout: found, checked and read."""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepbench.errors import StepbenchError
from stepbench.training.workload import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]

# NumPy is imported inside functions: finding the folder must not cost its import.

_ROWS = 10_000
_PIXELS = 3 * 32 * 32
_CLASSES = 10
_BINARY_BYTES = _ROWS * (1 + _PIXELS)
_READ_AT_MOST = 32_000_000
"""Bytes. More than any published file has, so that a wrong file of any size is refused without filling the memory."""

_PUBLISHED_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def find_batches(folder: Path) -> Path | None:
    """The folder with the batch files: ``folder`` itself, or its ``cifar-10-batches-py`` or ``-bin``; None if none is.

    One batch file is enough: a missing one is reported by its name when it is needed. Nothing is read.
    """
    candidates = (folder, *(folder / layout.folder for layout in _LAYOUTS))
    return next((candidate for candidate in candidates if _layout(candidate)), None)


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` holds all six batch files of a layout; their contents are not looked at."""
    return any(all((folder / name).is_file() for name in layout.files) for layout in _LAYOUTS)


def load_cifar10(folder: Path, limit: int | None = None) -> Dataset:
    """CIFAR-10 in the published order, pixels scaled from 0..255 to [0, 1]; only the files that are needed are read.

    Args:
        folder: holds the batch files of one layout, as :func:`find_batches` returns it.
        limit: at most so many training examples, and as many test examples; None for all 50,000 and 10,000.

    Returns:
        Inputs of shape (N, 32, 32, 3), float32, and labels of shape (N,), int64, 0 to 9.

    Raises:
        StepbenchError: naming the file that is missing, unreadable or not as published.
    """
    layout = _layout(folder)
    if layout is None:
        raise StepbenchError(f"{folder} holds no CIFAR-10 batch files: give the folder that does.")
    files = [folder / name for name in layout.files]
    return Dataset(*_load(files[:-1], layout.read, limit), *_load(files[-1:], layout.read, limit))


def _load(
    files: list[Path], read: Callable[[Path], Batch], limit: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import numpy as np

    available = _ROWS * len(files)
    count = available if limit is None else min(limit, available)
    x = np.empty((count, 32, 32, 3), np.float32)
    y = np.empty(count, np.int64)
    for file, start in zip(files, range(0, count, _ROWS), strict=False):  # Files behind the limit stay unread.
        images, labels = read(file)
        rows = min(_ROWS, count - start)
        channels_last = images[:rows].reshape(rows, 3, 32, 32).transpose(0, 2, 3, 1)
        np.divide(channels_last, 255, out=x[start : start + rows], dtype=np.float32)
        y[start : start + rows] = labels[:rows]
    return x, y


def _read_python(file: Path) -> Batch:
    import numpy as np

    content = _content(file)
    # MD5 is what is published, and no second preimage of it is in reach. The flag lets FIPS builds compute it.
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != _PUBLISHED_MD5[file.name]:
        raise StepbenchError(
            f"{file} is not the published file (its MD5 differs), so it was not unpickled: put the published one there."
        )
    batch = pickle.loads(content, encoding="bytes")  # noqa: S301 - these very bytes have the published MD5.
    return batch[b"data"], np.array(batch[b"labels"], np.int64)


def _read_binary(file: Path) -> Batch:
    import numpy as np

    content = _content(file)
    if len(content) != _BINARY_BYTES:
        raise StepbenchError(
            f"{file} does not have the published {_BINARY_BYTES:,} bytes: put the published file there."
        )
    rows = np.frombuffer(content, np.uint8).reshape(_ROWS, 1 + _PIXELS)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() >= _CLASSES:
        raise StepbenchError(f"{file} has a label {labels.max()}, above 9: put the published file there.")
    return rows[:, 1:], labels


def _content(file: Path) -> bytes:
    """The file's bytes, read once: what is checked is what is used."""
    try:
        with file.open("rb") as stream:
            return stream.read(_READ_AT_MOST)
    except OSError as error:
        raise StepbenchError(
            f"{file} cannot be read ({error.strerror or error}): put the published CIFAR-10 file there."
        ) from error


@dataclass(frozen=True)
class _Layout:
    folder: str
    files: tuple[str, ...]
    """The training batches in order, then the test batch."""
    read: Callable[[Path], Batch]
    """Gives a batch's images, shape (10000, 3072), channels first, and its labels, shape (10000,)."""


_LAYOUTS = (
    _Layout("cifar-10-batches-py", tuple(_PUBLISHED_MD5), _read_python),
    _Layout("cifar-10-batches-bin", tuple(f"{name}.bin" for name in _PUBLISHED_MD5), _read_binary),
)


def _layout(folder: Path) -> _Layout | None:
    """The layout of which ``folder`` holds at least one file, if it does."""
    # Unlike Path.exists, os.path.exists answers for a path that may not be looked at, or is too long.
    return next(
        (layout for layout in _LAYOUTS if any(os.path.exists(folder / name) for name in layout.files)),  # noqa: PTH110 - see above.
        None,
    )
