"""Inside a worker: the points of the reference trajectory, what a step from each should do, and their files.

One file a point, in NumPy's format without pickles, so that no more than one has to be in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.training.fit_data import Batch
from stepbench.worker.forced import Outcome, Snapshot
from stepbench.worker.tensors import Gradient, Rows

HEADER = "trajectory.json"


@dataclass(frozen=True)
class Allowance:
    """Norms of the differences that rounding brings about in what a step does."""

    loss: float
    gradients: list[float]
    changes: list[float]
    statistics: list[float]

    @property
    def is_finite(self) -> bool:
        """Whether rounding brings about no NaN and no infinity."""
        return bool(np.isfinite([self.loss, *self.gradients, *self.changes, *self.statistics]).all())


@dataclass(frozen=True, eq=False)
class Target:
    """A state that a training was in, and what a call from it should do."""

    step: int
    steps_per_call: int
    snapshot: Snapshot
    batch: Batch
    """Of the call: flat, as the workload's own batches are put together by who reads it."""
    rights: dict[str, Outcome]
    """By the dtype of the reference: float64, or a precision whose random numbers no other one draws. Of a step that a
    case took as it trained: what it did."""
    rounding: dict[str, Allowance]
    """By precision: what honest rounding brings about."""
    jumps: Allowance
    """What rounding brings about now and then, when it tips a unit or a maximum over."""


@dataclass(frozen=True)
class TrajectoryHeader:
    """What there is to know of a trajectory without its points."""

    references: dict[str, str]
    """By precision, the reference that its cases are compared with."""
    reasons: dict[str, str]
    """By precision, why that is not float64."""
    not_comparable: str | None
    """Why no step can be compared, if so."""
    is_random: bool
    """Whether the step draws random numbers."""


def save_header(header: TrajectoryHeader, folder: Path) -> None:
    """Write it last, when all points are there."""
    (folder / HEADER).write_text(json.dumps(vars(header)))


def load_header(folder: Path) -> TrajectoryHeader:
    """Read what :func:`save_header` wrote."""
    return TrajectoryHeader(**json.loads((folder / HEADER).read_text()))


def save_target(target: Target, folder: Path) -> int:
    """Write a point, and give the bytes that it takes."""
    arrays: dict[str, NDArray[Any]] = {}
    meta: dict[str, Any] = {"step": target.step, "rights": {}, "optimizers": len(target.snapshot.optimizers)}
    _put(arrays, "weights", target.snapshot.weights)
    for number, values in enumerate(target.snapshot.optimizers):
        _put(arrays, f"optimizer{number}", values)
    _put(arrays, "batch", [_stored(part) for part in tf.nest.flatten(target.batch, expand_composites=True)])
    for name, right in target.rights.items():
        meta["rights"][name] = {"loss": right.loss, "names": right.names, "is_settled": right.is_settled}
        _put_gradients(arrays, f"{name}/gradients", right.gradients)
        _put(arrays, f"{name}/changes", right.changes)
        _put(arrays, f"{name}/statistics", right.statistics)
    meta["rounding"] = {name: vars(allowance) for name, allowance in target.rounding.items()}
    meta["jumps"] = vars(target.jumps)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    file = _file(folder, target.steps_per_call, target.step)
    np.savez(file, **arrays)  # type: ignore[arg-type] # Names are data.
    return file.stat().st_size


def load_targets(folder: Path, steps_per_call: int, like: Batch) -> Iterator[Target]:
    """The points for calls of so many steps, one after the other, their batches put together as ``like`` is."""
    for file in sorted(folder.glob(f"k{steps_per_call}-*.npz")):
        with np.load(file, allow_pickle=False) as stored:
            meta = json.loads(stored["meta"].tobytes())
            lists = _lists(stored)
        rights = {
            name: Outcome(
                loss=facts["loss"],
                names=facts["names"],
                gradients=_taken_gradients(lists, f"{name}/gradients"),
                changes=lists.get(f"{name}/changes", []),
                statistics=lists.get(f"{name}/statistics", []),
                is_settled=facts["is_settled"],
            )
            for name, facts in meta["rights"].items()
        }
        flat = [tf.constant(part) for part in lists["batch"]]
        yield Target(
            step=meta["step"],
            steps_per_call=steps_per_call,
            snapshot=Snapshot(
                lists.get("weights", []), [lists.get(f"optimizer{number}", []) for number in range(meta["optimizers"])]
            ),
            batch=tf.nest.pack_sequence_as(like, flat, expand_composites=True),
            rights=rights,
            rounding={name: Allowance(**allowance) for name, allowance in meta["rounding"].items()},
            jumps=Allowance(**meta["jumps"]),
        )


def _file(folder: Path, steps_per_call: int, step: int) -> Path:
    return folder / f"k{steps_per_call}-{step:06}.npz"


def _stored(part: tf.Tensor) -> NDArray[Any]:
    """Texts, which NumPy would pickle, as bytes of one length."""
    array = part.numpy()
    return np.array(array, dtype=np.bytes_) if array.dtype.kind == "O" else array


def _put(arrays: dict[str, NDArray[Any]], name: str, values: Sequence[NDArray[Any]]) -> None:
    arrays |= {f"{name}/{number}": value for number, value in enumerate(values)}


def _put_gradients(arrays: dict[str, NDArray[Any]], name: str, gradients: Sequence[Gradient]) -> None:
    for number, gradient in enumerate(gradients):
        key = f"{name}/{number}"
        if isinstance(gradient, Rows):
            arrays[f"{key}:indices"], arrays[f"{key}:values"] = gradient.indices, gradient.values
            arrays[f"{key}:shape"] = np.array(gradient.shape)
        elif gradient is None:
            arrays[f"{key}:none"] = np.zeros(0)
        else:
            arrays[key] = gradient


def _lists(stored: Any) -> dict[str, list[NDArray[Any]]]:
    lists: dict[str, list[NDArray[Any]]] = {}
    for key in stored.files:  # In the order of writing.
        if key != "meta":
            lists.setdefault(_list_of(key), []).append(stored[key])
    return lists


def _list_of(key: str) -> str:
    name, _, number = key.rpartition("/")
    return f"{name}/{number}" if "/gradients/" in key else name


def _taken_gradients(lists: dict[str, list[NDArray[Any]]], name: str) -> list[Gradient]:
    found: dict[int, dict[str, NDArray[Any]]] = {}
    for key, (array, *_) in lists.items():
        if key.startswith(f"{name}/"):
            number, _, kind = key.removeprefix(f"{name}/").partition(":")
            found.setdefault(int(number), {})[kind] = array
    return [_gradient(found[number]) for number in sorted(found)]


def _gradient(parts: dict[str, NDArray[Any]]) -> Gradient:
    if "none" in parts:
        return None
    if "indices" in parts:
        return Rows(parts["indices"], parts["values"], tuple(map(int, parts["shape"])))
    return parts[""]
