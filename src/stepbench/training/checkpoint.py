"""Checkpoints of a training: every variable and the epochs so far, one file an epoch.

NumPy's own format without pickles: nothing in it is executed on reading.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stepbench.errors import StepbenchError
from stepbench.training.loop import Epoch

if TYPE_CHECKING:
    from stepbench.training.step import TrainState

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
        header = msgspec.json.encode(Header(self._training, tuple(epochs)))
        arrays = {f"v{index}": variable.numpy() for index, variable in enumerate(state.variables)}
        target = self._folder / f"epoch-{len(epochs):04}.npz"
        draft = target.with_suffix(".draft")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **{_HEADER: np.frombuffer(header, np.uint8)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StepbenchError(
                f"The checkpoint {target} cannot be written ({error.strerror}): choose another --checkpoint."
            ) from error

    def restore(self, state: TrainState) -> tuple[Epoch, ...]:
        """Put ``state`` where the newest checkpoint left it; give its epochs, none if there is no checkpoint.

        Raises:
            StepbenchError: when the checkpoint is damaged or of another training.
        """
        newest = max(
            (file for file in self._folder.glob("epoch-*.npz") if _FILE.fullmatch(file.name)),
            key=lambda file: int(file.stem.removeprefix("epoch-")),
            default=None,
        )
        if newest is None:
            return ()
        try:
            return self._restore_from(newest, state)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as error:
            raise StepbenchError(
                f"The checkpoint {newest} is damaged ({error}): delete it to continue from the one before."
            ) from error

    def _restore_from(self, file: Path, state: TrainState) -> tuple[Epoch, ...]:
        with np.load(file, allow_pickle=False) as stored:
            header = msgspec.json.decode(stored[_HEADER].tobytes(), type=Header)
            differing = sorted(
                name
                for name in self._training.keys() | header.training.keys()
                if self._training.get(name) != header.training.get(name)
            )
            if differing:
                raise StepbenchError(
                    f"{file} belongs to a training with another {', '.join(differing)}: choose another --checkpoint."
                )
            for index, variable in enumerate(state.variables):
                variable.assign(stored[f"v{index}"])
            return header.epochs
