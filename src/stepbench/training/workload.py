"""What is trained: a user's or a built-in workload, and how it is found by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from stepbench.errors import StepbenchError
from stepbench.records.cases import check_name

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

BUILT_IN_WORKLOADS = {"cifar-cnn": "stepbench.training.workloads.cifar_cnn:workload"}


@dataclass(frozen=True)
class DataSource:
    """Where training data comes from, as resolved from ``--data``."""

    name: str
    """``cifar10`` or ``synthetic``: what reports call it."""
    folder: Path | None = None
    """The folder that holds the published files, if they are on this machine."""
    limit: int | None = None
    """How many training examples will be used at most; a loader may return more."""


@dataclass(frozen=True)
class Dataset:
    """NumPy arrays whose first axis counts examples, inputs as the model takes them.

    Raises:
        StepbenchError: when inputs and targets differ in length or a set is empty.
    """

    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]

    def __post_init__(self) -> None:
        for part, x, y in (("training", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if len(x) != len(y) or not len(x):
                raise StepbenchError(
                    f"The {part} set has {len(x)} inputs and {len(y)} targets: give as many of both, at least one."
                )

    def limited(self, examples: int) -> Dataset:
        """The first ``examples`` of the training set, with the whole test set."""
        return Dataset(self.x_train[:examples], self.y_train[:examples], self.x_test, self.y_test)


def _default_loss() -> keras.losses.Loss:
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _default_optimizer() -> keras.optimizers.Optimizer:
    import keras

    return keras.optimizers.Adam()


def _default_metric() -> keras.metrics.Metric:
    import keras

    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


@dataclass(frozen=True)
class Workload:
    """A model with its data, loss, optimizer and metric. Each field but the name is a factory.

    The factories run inside a worker, under the dtype policy of the case; ``model()`` must give a
    ``keras.Model`` whose outputs are float32.
    """

    name: str
    model: Callable[[], keras.Model]
    data: Callable[[DataSource], Dataset]
    loss: Callable[[], keras.losses.Loss] = _default_loss
    optimizer: Callable[[], keras.optimizers.Optimizer] = _default_optimizer
    metric: Callable[[], keras.metrics.Metric] = _default_metric

    def __post_init__(self) -> None:
        check_name("workload", self.name)


def load_workload(locator: str) -> Workload:
    """The workload that ``locator`` names.

    Args:
        locator: a built-in name, ``package.module:attribute`` or ``path/to/file.py:attribute``; the attribute
            is a :class:`Workload` or a callable without arguments that returns one.

    Raises:
        StepbenchError: when it is not found, does not import or is of the wrong type.
    """
    target = BUILT_IN_WORKLOADS.get(locator, locator)
    module_name, colon, attribute = target.rpartition(":")
    if not colon or not module_name or not attribute:
        known = ", ".join(BUILT_IN_WORKLOADS)
        raise StepbenchError(
            f"There is no workload {locator!r}: use {known}, 'package.module:attribute' or 'path/to/file.py:attribute'."
        )
    module = import_user_module(module_name)
    if not hasattr(module, attribute):
        raise StepbenchError(f"{module_name} has no attribute {attribute!r}: name the workload it defines.")
    found = getattr(module, attribute)
    workload = found if isinstance(found, Workload) else _called(found, locator)
    if not isinstance(workload, Workload):
        raise StepbenchError(
            f"{locator} is a {type(workload).__name__}: it must be a stepbench.Workload or a callable that returns one."
        )
    return workload


def _called(factory: object, locator: str) -> object:
    if not callable(factory):
        return factory
    try:
        return factory()
    except StepbenchError:
        raise
    except Exception as error:
        raise StepbenchError(f"Calling {locator} raised {type(error).__name__}: {error}.") from error


def import_user_module(name: str) -> ModuleType:
    """Import a module of the user's, by dotted name (the working folder counts) or by the path of its file.

    Raises:
        StepbenchError: when there is none or it raises.
    """
    try:
        return _import_file(Path(name)) if name.endswith(".py") else _import_name(name)
    except StepbenchError:
        raise
    except Exception as error:
        raise StepbenchError(f"Importing {name} raised {type(error).__name__}: {error}.") from error


def _import_name(name: str) -> ModuleType:
    working_folder = str(Path.cwd())
    if working_folder not in sys.path:
        sys.path.insert(0, working_folder)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise StepbenchError(f"There is no file {path}: give the path of the Python file that defines it.")
    # Files that lie beside it are its own to import, as they are for a script.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    # Found again above, even where two files have one name.
    name = path.stem if path.stem not in sys.modules else str(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, "a .py file always has a spec"
    assert spec.loader, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
