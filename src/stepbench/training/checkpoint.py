"""Checkpoints of a training: every variable and the epochs so far, one file an epoch.

NumPy's own format without pickles: nothing in it is executed on reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stepbench.errors import StepbenchError
from stepbench.training.loop import Epoch

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from stepbench.training.state import TrainState

_FILE = re.compile(r"epoch-(\d+)\.npz")
_HEADER = "header"


class Header(msgspec.Struct, frozen=True):
    """What a checkpoint belongs to, and the figures so far."""

    training: dict[str, str | int | bool]
    """All that decides the result; another training's checkpoint is refused."""
    epochs: tuple[Epoch, ...]


class Checkpoints:
    """The checkpoints of one training in one folder."""

    def __init__(self, folder: Path, training: dict[str, str | int | bool]) -> None:
        self._folder = folder
        self._training = training

    def save(self, state: TrainState, epochs: Sequence[Epoch]) -> None:
        """Write the state at the end of the last of ``epochs``, whole or not at all.

        Raises:
            StepbenchError: when the folder cannot be written.
        """
        # Not as msgspec writes it: a training that diverged has losses that are no numbers.
        header = json.dumps(msgspec.to_builtins(Header(self._training, tuple(epochs)))).encode()
        arrays = {f"v{index}": variable.numpy() for index, variable in enumerate(state.variables)}
        target = self._folder / f"epoch-{len(epochs):04}.npz"
        draft = target.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **{_HEADER: np.frombuffer(header, np.uint8)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise StepbenchError(
                f"The checkpoint {target} cannot be written ({error.strerror}): choose another --checkpoint."
            ) from error

    def restore(self, state: TrainState, at_most: int) -> tuple[Epoch, ...]:
        """Put ``state`` where the newest checkpoint left it that is of epoch ``at_most`` or before.

        Returns:
            The epochs up to there, none if there is no such checkpoint.

        Raises:
            StepbenchError: when the checkpoint is damaged or of another training, or the folder cannot be written.
        """
        self._check_folder()
        found = {int(match[1]): file for file in self._folder.iterdir() if (match := _FILE.fullmatch(file.name))}
        newest = found.get(max((number for number in found if number <= at_most), default=0))
        if newest is None:
            return ()
        try:
            return self._restore_from(newest, state)
        except StepbenchError:
            raise
        except Exception as error:  # There is little that zipfile and NumPy do not raise on a damaged file.
            raise StepbenchError(
                f"The checkpoint {newest} is damaged ({error}): delete it to continue from the one before."
            ) from error

    def _check_folder(self) -> None:
        """Before an epoch is trained that could then not be saved."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StepbenchError(
                f"The folder {self._folder} cannot be made ({error.strerror}): choose another --checkpoint."
            ) from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise StepbenchError(f"The folder {self._folder} cannot be written: choose another --checkpoint.")

    def _restore_from(self, file: Path, state: TrainState) -> tuple[Epoch, ...]:
        with np.load(file, allow_pickle=False) as stored:
            header = msgspec.convert(json.loads(stored[_HEADER].tobytes()), Header)
            differing = sorted(
                name
                for name in self._training.keys() | header.training.keys()
                if self._training.get(name) != header.training.get(name)
            )
            if differing:
                raise StepbenchError(
                    f"{file} belongs to a training with another {', '.join(differing)}: choose another --checkpoint."
                )
            arrays = {name: stored[name] for name in stored.files if name != _HEADER}
        variables = {f"v{index}": variable for index, variable in enumerate(state.variables)}
        if _shapes(arrays) != _shapes(variables):
            raise StepbenchError(f"{file} belongs to a training of another model: choose another --checkpoint.")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        return header.epochs


def _shapes(arrays: Mapping[str, NDArray[np.generic] | keras.Variable]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in arrays.items()}
