"""What users write: a workload or a training, and the data that it trains on. Importing this loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbench.records.cases import check_name
from stepbench.training.structures import count_rows, first_rows

if TYPE_CHECKING:
    import keras

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
    """Arrays whose first axis counts examples, or nested dicts and tuples of such, as the model takes them.

    Raises:
        StepbenchError: when inputs, targets and weights differ in length or a set is empty.
    """

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    sample_weight: Any = None
    """Of the training examples, as ``fit`` takes it; None where all weigh the same."""

    def __post_init__(self) -> None:
        count_rows("training set", inputs=self.x_train, targets=self.y_train, weights=self.sample_weight)
        count_rows("test set", inputs=self.x_test, targets=self.y_test)

    def limited(self, examples: int) -> Dataset:
        """The first ``examples`` of the training set, with the whole test set."""
        x, y, weights = first_rows((self.x_train, self.y_train, self.sample_weight), examples)
        return replace(self, x_train=x, y_train=y, sample_weight=weights)


@dataclass(frozen=True)
class Workload:
    """A Keras model with its data; its loss, optimizer and metric too, unless the model comes compiled.

    Use it for any model that ``keras.Model.fit`` trains. The model is built inside a worker, under the dtype policy of
    the case, and again whenever a second one is needed.
    """

    name: str
    model: Callable[[], keras.Model]
    """Gives a model, compiled or not, a new one each time."""
    data: Callable[[DataSource], Any]
    """Gives a :class:`Dataset`, or a pair of training and test data, each what ``fit`` takes as ``x``: a tuple
    ``(x, y[, sample_weight])``, a ``tf.data.Dataset`` of batches, a ``keras.utils.PyDataset``, or a generator."""
    loss: Any = None
    """What ``compile`` takes, or a function without arguments that gives it. None leaves what the model was compiled
    with; one that was not compiled gets sparse categorical cross-entropy from logits."""
    optimizer: Any = None
    """Likewise; Adam."""
    metric: Any = None
    """Likewise, one metric or several; accuracy where the loss is the default or a categorical cross-entropy."""

    def __post_init__(self) -> None:
        check_name("workload", self.name)


@dataclass(frozen=True)
class Built:
    """A training step that needs no Keras model, ready to run."""

    step: Callable[[Any], Any]
    """Takes a batch; gives its scalar loss, or a dict of scalars whose first entry it is."""
    batches: Any
    """The training data: what ``fit`` takes as ``x`` (see :attr:`Workload.data`)."""
    variables: Iterable[Any]
    """Keras' or TensorFlow's variables that a step may change: what is restored before each block."""
    optimizers: Sequence[Any] = ()
    """Keras' optimizers that the step applies; verification watches what they are given."""
    evaluate: Callable[[], dict[str, float]] | None = None
    """Gives figures of merit by name, from data that the step never sees."""


@dataclass(frozen=True)
class Training:
    """Any function that makes a step: several optimizers, a loop of one's own, no Keras model at all.

    ``build`` runs inside a worker, under the dtype policy and the seed of the case.
    """

    name: str
    build: Callable[[DataSource], Built]

    def __post_init__(self) -> None:
        check_name("workload", self.name)
