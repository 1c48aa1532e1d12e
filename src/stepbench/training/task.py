"""A workload with its data, ready to be built: as often, and under as many precisions, as a comparison needs."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Sequence
from typing import Any

import keras

from stepbench.errors import StepbenchError
from stepbench.records.protocol import Written
from stepbench.training.compiled import compiled_model, written
from stepbench.training.data import resolve_source
from stepbench.training.feed import Feed, feed_of
from stepbench.training.fit_data import FitData, fit_data, training_and_test
from stepbench.training.locate import Locatable, load_workload
from stepbench.training.script import Reached, Script, run_to_fit
from stepbench.training.state import TrainState, building, model_state, redrawing, training_state, untraced_state
from stepbench.training.structures import rows_in
from stepbench.training.workload import Built, Dataset, DataSource, Training, Workload

USUAL_BATCH_SIZE = 64
KERAS_BATCH_SIZE = 32
"""What ``fit`` takes where a script asks for none."""
DECIDES_NOTHING = ("callbacks", "epochs", "initial_epoch", "validation_freq", "verbose", "validation_steps")
"""Arguments of ``fit`` that a step does not depend on."""


class Task(abc.ABC):
    """A workload with its data."""

    feed: Feed
    """Of the training data; of scripts and trainings there once they are built."""
    test: FitData | None = None
    """What a model is evaluated on; None where there is nothing."""
    remarks: tuple[str, ...] = ()
    """What there is to say of how the workload was understood, a sentence each."""
    written: Written | None = None
    """How a compiled model's author has it run; there once it is looked at."""

    @property
    def usual_batch_size(self) -> int:
        """That of a pipeline or a script; 64 where any will do."""
        return self.feed.own_batch_size or USUAL_BATCH_SIZE

    @abc.abstractmethod
    def build(self, policy: str, seed: int, batch_size: int | None = None, *, for_values: bool = False) -> TrainState:
        """A new model or training under a dtype policy, initialised from a seed.

        Args:
            policy: of Keras, such as ``float32``.
            seed: of all that is drawn while building.
            batch_size: of the batches that it will see; the usual one if None.
            for_values: whether all that is wanted are the values of its variables, drawn as :func:`redrawing` says, of
                which those may be missing that a model makes in its first step: to trace it takes longer than all else.

        Raises:
            StepbenchError: when the workload is wrong, or its model made for another batch size.
        """

    @abc.abstractmethod
    def look(self, batch_sizes: Sequence[int]) -> None:
        """Find out early what is wrong with the workload at some batch sizes, or at the usual one if there are none.

        Raises:
            StepbenchError: as :meth:`build`.
        """


def open_task(workload: Locatable, source: DataSource) -> Task:
    """The task of a workload of any kind.

    Raises:
        StepbenchError: when its data is wrong.
    """
    if isinstance(workload, Script):
        return ScriptTask(workload, source.limit)
    return TrainingTask(workload, source) if isinstance(workload, Training) else WorkloadTask(workload, source)


def task_named(locator: str, data: str, limit: int | None = None) -> Task:
    """The task of the workload that ``locator`` names, with what ``--data`` names.

    Raises:
        StepbenchError: when there is no such workload or data, or something of it is wrong.
    """
    return open_task(load_workload(locator), resolve_source(data, limit=limit))


class WorkloadTask(Task):
    """Of a Keras model and its data."""

    def __init__(self, workload: Workload, source: DataSource) -> None:
        self._workload = workload
        keras.utils.set_random_seed(0)  # What shuffles without a seed of its own does it alike in every process.
        given = workload.data(source)
        if isinstance(given, Dataset) and source.limit:
            given = given.limited(source.limit)
        training, self.test = training_and_test(given)
        self.feed = feed_of(training)

    def build(self, policy: str, seed: int, batch_size: int | None = None, *, for_values: bool = False) -> TrainState:
        """As :class:`Task` says."""
        with (redrawing if for_values else building)(policy, seed):
            return _built(self._model(), self.feed, batch_size or self.usual_batch_size, for_values=for_values)

    def look(self, batch_sizes: Sequence[int]) -> None:
        """As :class:`Task` says."""
        with building("float32", 0):
            _check_batch_sizes(self._model(), self.feed, batch_sizes or (self.usual_batch_size,))

    def _model(self) -> keras.Model:
        model, replaced = compiled_model(self._workload)
        if replaced is not None:
            self.written = written(model)
        if replaced:
            names = " and ".join(replaced)
            self.remarks = (f"{self._workload.name}: its own {names} in place of what the model is compiled with",)
        return model


class ScriptTask(Task):
    """Of a training script; each build runs it anew."""

    def __init__(self, script: Script, limit: int | None) -> None:
        self._script = script
        self._limit = limit

    def build(self, policy: str, seed: int, batch_size: int | None = None, *, for_values: bool = False) -> TrainState:
        """As :class:`Task` says."""
        with (redrawing if for_values else building)(policy, seed):
            model = self._run()
            return _built(model, self.feed, batch_size or self.usual_batch_size, for_values=for_values)

    def look(self, batch_sizes: Sequence[int]) -> None:
        """As :class:`Task` says."""
        with building("float32", 0):
            model = self._run()
            _check_batch_sizes(model, self.feed, batch_sizes or (self.usual_batch_size,))

    def _run(self) -> keras.Model:
        reached = run_to_fit(self._script)
        if not reached.model.compiled:
            raise StepbenchError(f"{self._script.path.name} calls fit() before compile(): compile the model.")
        training, self.test = _handed_to_fit(reached.arguments)
        self.feed = feed_of(training.limited(self._limit) if self._limit else training)
        self.remarks = _script_remarks(self._script, reached, self.feed)
        self.written = written(reached.model, reached.policy, _training_steps(reached.arguments, self.feed))
        return reached.model


class TrainingTask(Task):
    """Of a step that needs no Keras model."""

    def __init__(self, training: Training, source: DataSource) -> None:
        self._training = training
        self._source = source

    def build(self, policy: str, seed: int, batch_size: int | None = None, *, for_values: bool = False) -> TrainState:
        """As :class:`Task` says."""
        with (redrawing if for_values else building)(policy, seed):
            built = self._built()
            batch = self.feed.take(1, batch_size or self.usual_batch_size)[0]
            return training_state(built.step, built.optimizers, built.variables, built.evaluate, batch)

    def look(self, batch_sizes: Sequence[int]) -> None:
        """As :class:`Task` says."""
        with building("float32", 0):
            self._built()
        _check_batch_sizes(None, self.feed, batch_sizes or (self.usual_batch_size,))

    def _built(self) -> Built:
        built = self._training.build(self._source)
        if not isinstance(built, Built):
            raise StepbenchError(
                f"The build() of {self._training.name} gave a {type(built).__name__}: it must give a stepbench.Built."
            )
        self.feed = feed_of(fit_data(built.batches))
        return built


def _built(model: keras.Model, feed: Feed, batch_size: int, *, for_values: bool) -> TrainState:
    _check_batch_sizes(model, feed, (batch_size,))
    return untraced_state(model) if for_values else model_state(model, feed.take(1, batch_size)[0])


def _check_batch_sizes(model: keras.Model | None, feed: Feed, batch_sizes: Sequence[int]) -> None:
    for batch_size, tensor in itertools.product(batch_sizes, getattr(model, "inputs", None) or ()):
        if tensor.shape and tensor.shape[0] not in (None, batch_size):
            raise StepbenchError(
                f"The model is made for batches of {tensor.shape[0]}: use --batch-size {tensor.shape[0]}, "
                f"not {batch_size}."
            )
    for batch_size in batch_sizes:
        feed.check_batch_size(batch_size)


def _handed_to_fit(arguments: dict[str, Any]) -> tuple[FitData, FitData | None]:
    """Training and validation data, split as ``fit`` splits them."""
    names = ("x", "y", "sample_weight", "class_weight", "steps_per_epoch")
    data = fit_data(FitData(**{name: arguments.get(name) for name in names}))
    validation = arguments.get("validation_data")
    test = None if validation is None else fit_data(validation)
    if data.is_arrays:
        share = arguments.get("validation_split") or 0.0
        if share and test is None:
            kept = int(rows_in(data.x) * (1 - share))
            data, test = data.split(kept)
        data = data.batched(arguments.get("batch_size") or KERAS_BATCH_SIZE)
    return data, test


def _training_steps(arguments: dict[str, Any], feed: Feed) -> int | None:
    """As many as ``fit`` was to take, if that is known."""
    an_epoch = arguments.get("steps_per_epoch")
    if an_epoch is None and feed.examples and feed.own_batch_size:
        an_epoch = -(-feed.examples // feed.own_batch_size)
    return an_epoch and max(1, an_epoch * arguments.get("epochs", 1))


def _script_remarks(script: Script, reached: Reached, feed: Feed) -> tuple[str, ...]:
    model = reached.model
    optimizer = type(model.optimizer).__name__ if model.optimizer else "no optimizer"
    loss = model.loss if isinstance(model.loss, str) else getattr(model.loss, "name", type(model.loss).__name__)
    examples = f"{feed.examples:,} examples" if feed.examples else "a pipeline"
    taken = f"{type(model).__name__} {model.name}, {loss}, {optimizer}, batches of {feed.own_batch_size} of {examples}"
    ignored = [name for name in DECIDES_NOTHING if reached.arguments.get(name) is not None]
    ignored += [name for name in ("run_eagerly", "jit_compile") if getattr(model, name, False)]
    ignored += ["steps_per_execution"] if model.steps_per_execution > 1 else []
    name = script.path.name
    remarks = [
        f"{name} is run up to its first fit(), {reached.seconds:.1f} s, anew in every process; it trains {taken}"
        + (f"; {', '.join(ignored)} decide nothing here" if ignored else "")
    ]
    if reached.policy:
        remarks.append(f"{name} sets the dtype policy {reached.policy}, which gives way to each case's own")
    if reached.seeded:
        remarks.append(f"{name} seeds its random numbers itself, so its weights begin alike whatever the seed")
    return tuple(remarks)
