"""Where training data comes from: ``--data`` resolved to a source, and a source loaded as arrays."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stepbench.errors import StepbenchError
from stepbench.training.cifar10 import find_batches, is_complete, load_cifar10
from stepbench.training.workload import Dataset, DataSource

if TYPE_CHECKING:
    from collections.abc import Mapping

CIFAR10 = "cifar10"
SYNTHETIC = "synthetic"

# As keras.datasets.cifar10.load_data has them, so that either finds what the other has downloaded.
_KERAS_NAME = "cifar-10-batches-py-target"
_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def resolve_source(option: str, *, limit: int | None = None, environ: Mapping[str, str] = os.environ) -> DataSource:
    """The data that ``--data`` names. Only ``cifar10`` may download; no data is read.

    Args:
        option: ``auto``, ``cifar10``, ``synthetic``, or a folder that is or holds ``cifar-10-batches-py`` or ``-bin``.
        limit: the number of training examples to use at most; None for all.
        environ: where ``STEPBENCH_DATA`` (the folder for ``auto`` and ``cifar10``) and ``KERAS_HOME`` are looked up.

    Raises:
        StepbenchError: when the option or STEPBENCH_DATA names no data, the download fails, or the limit is below 1.
    """
    _check_limit(limit)
    folder = None if option == SYNTHETIC else _cifar10_folder(option, environ)
    return DataSource(CIFAR10 if folder else SYNTHETIC, folder, limit)


def load_images(source: DataSource) -> Dataset:
    """The images of ``source``: CIFAR-10 in its published order, or the synthetic set of the same shape.

    Returns:
        Inputs of shape (N, 32, 32, 3), float32 in [0, 1], channels last; labels of shape (N,), int64, 0 to 9. N is
        50,000 for training and 10,000 for testing, each at most ``source.limit``: the first ones of the full set.

    Raises:
        StepbenchError: when a file is missing, unreadable or not as published (it is named), or the source is none
            that :func:`resolve_source` returns.
    """
    _check_limit(source.limit)
    if source.name == CIFAR10 and source.folder:
        return load_cifar10(source.folder, source.limit)
    if source.name == SYNTHETIC:
        from stepbench.training.synthetic import make_synthetic

        return make_synthetic(source.limit)
    raise StepbenchError(f"There are no images for the source {source.name!r}: use one that resolve_source returns.")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise StepbenchError(f"The limit must be at least 1 training example, not {limit}.")


def _cifar10_folder(option: str, environ: Mapping[str, str]) -> Path | None:
    """The folder with CIFAR-10's batch files, or None where ``auto`` finds none."""
    if option not in ("auto", CIFAR10):
        return _named_folder(option, "--data must be auto, cifar10, synthetic or a folder with CIFAR-10")
    if named := environ.get("STEPBENCH_DATA"):
        return _named_folder(named, "STEPBENCH_DATA must be unset or name a folder with CIFAR-10")
    home = _keras_home(environ)
    return _cached(home) or (_downloaded(home) if option == CIFAR10 else None)


def _named_folder(name: str, rule: str) -> Path:
    # Absolute, because a worker or another revision may start in another folder; "" would be the working folder.
    folder = find_batches(Path(name).absolute()) if name else None
    if folder is None:
        raise StepbenchError(f"{rule}; {name!r} holds neither cifar-10-batches-py nor cifar-10-batches-bin.")
    return folder


def _keras_home(environ: Mapping[str, str]) -> Path:
    """Where Keras keeps its cache, by its own rule."""
    if named := environ.get("KERAS_HOME"):
        return Path(named)
    # Unlike Path.home, expanduser bears a user without a home.
    user = os.path.expanduser("~")  # noqa: PTH111 - see above.
    return Path(user if os.access(user, os.W_OK) else "/tmp", ".keras")  # noqa: S108 - Keras' choice; contents are checked.


def _cached(home: Path) -> Path | None:
    # Keras 2 extracted beside its archives. A half extracted cache is none: fetching it again mends it.
    found = (find_batches(home / "datasets" / name) for name in (_KERAS_NAME, "cifar-10-batches-py"))
    return next((folder for folder in found if folder and is_complete(folder)), None)


def _downloaded(home: Path) -> Path:
    import keras

    try:
        # Keras shows its progress on stdout, which is for the command's answer.
        with contextlib.redirect_stdout(sys.stderr):
            extracted = keras.utils.get_file(
                _KERAS_NAME, origin=_ORIGIN, extract=True, file_hash=_SHA256, cache_dir=str(home)
            )
    except Exception as error:
        raise StepbenchError(
            f"CIFAR-10 could not be downloaded ({error}): set STEPBENCH_DATA to a folder that holds it, "
            "or use --data synthetic."
        ) from error
    return _named_folder(extracted, "The download must hold CIFAR-10")
