"""The training data of a workload, batch by batch: from arrays in any order, from pipelines in their own."""

from __future__ import annotations

import abc
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import GeneratorType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stepbench.errors import StepbenchError
from stepbench.training.fit_data import ENDLESS, Batch, Enough, FitData, data_ended, drive
from stepbench.training.structures import rows_in

Visit = Callable[[Batch], None]
SHUFFLED_AT_ONCE = 10_000
TENSORS = (tf.Tensor, tf.RaggedTensor)


class Feed(abc.ABC):
    """Gives out whole batches of one size; shorter last ones are left out, so that every step has one shape."""

    examples: int
    """In the training set; 0 where a pipeline does not know."""
    own_batch_size: int | None
    """The size that a pipeline makes or a script asks for; None where any will do."""

    @abc.abstractmethod
    def check_batch_size(self, batch_size: int) -> None:
        """Refuse a size that the data cannot give.

        Raises:
            StepbenchError: when it is so.
        """

    @abc.abstractmethod
    def _each(self, batch_size: int, visit: Visit, seed: int | None, passes: int) -> None: ...

    @abc.abstractmethod
    def _pipeline(self, batch_size: int) -> FitData:
        """What a user would feed ``fit`` with."""

    def each(self, batch_size: int, visit: Visit, *, seed: int | None = None, passes: int = ENDLESS) -> None:
        """Show ``visit`` one batch after the other, until it raises :class:`Enough`.

        Args:
            batch_size: of each.
            visit: is given each batch.
            seed: of the order of arrays, and of all that a pipeline draws; None keeps the order of the data.
            passes: over the data, at most.

        Raises:
            StepbenchError: when the data give no whole batch.
        """
        self.check_batch_size(batch_size)
        try:
            self._each(batch_size, visit, seed, passes)
        except Enough:
            return

    def take(self, count: int, batch_size: int) -> list[Batch]:
        """The first so many batches; a small set goes round again."""
        taken: list[Batch] = []

        def visit(batch: Batch) -> None:
            taken.append(batch)
            if len(taken) == count:
                raise Enough

        self.each(batch_size, visit)
        return taken

    def time_input(self, batch_size: int, steps: int, call: Callable[[Batch], Any], calls: int) -> tuple[float, float]:
        """Feed calls from the pipeline that a user would: seconds in all, and of those spent waiting for a batch.

        Args:
            batch_size: examples a step.
            steps: in a call, whose batches are stacked.
            call: the case's call.
            calls: how many to time, after a first one that is not.
        """
        waits: list[float] = []
        started = ended = 0.0

        def train_function(batches: Iterator[Batch]) -> None:
            nonlocal started, ended
            asked = time.perf_counter()
            batch = stacked([next(batches) for _ in range(steps)])
            waits.append(time.perf_counter() - asked)
            call(batch)
            if len(waits) == 1:
                tf.test.experimental.sync_devices()
                started = time.perf_counter()
            if len(waits) > calls:  # Before fit winds up and memory is tidied, which is no step's.
                tf.test.experimental.sync_devices()
                ended = time.perf_counter()
                raise Enough

        drive(self._pipeline(batch_size), train_function)
        return ended - started, sum(waits[1:])


class ArrayFeed(Feed):
    """Batches of rows of arrays."""

    def __init__(self, data: FitData) -> None:
        """Take arrays, in the dtypes that Keras gives them."""
        first = first_batch(replace(data.limited(1), batch_size=1))
        tensors = tf.nest.flatten(first)
        parts = [part for part in tf.nest.flatten((data.x, data.y)) if part is not None]
        arrays = [_cast(array, tensor.dtype) for array, tensor in zip(parts, tensors, strict=False)]
        if len(tensors) > len(parts):
            arrays += _weights_of(data)
        self._arrays = tf.nest.pack_sequence_as(first, arrays)
        self.examples = rows_in(data.x)
        self.own_batch_size = data.batch_size

    def check_batch_size(self, batch_size: int) -> None:
        """As :class:`Feed` says."""
        if self.examples < batch_size:
            raise StepbenchError(
                f"The training set has {self.examples} examples: choose a batch size of at most that, not {batch_size}."
            )

    def _each(self, batch_size: int, visit: Visit, seed: int | None, passes: int) -> None:
        if seed is None and passes == ENDLESS:  # In its own order a set goes round without a gap.
            for number in range(ENDLESS):
                visit(self.rows(np.arange(number * batch_size, (number + 1) * batch_size) % self.examples))
        random = np.random.default_rng(seed)
        for _ in range(passes):
            order = np.arange(self.examples) if seed is None else random.permutation(self.examples)
            for start in range(0, self.examples - batch_size + 1, batch_size):
                visit(self.rows(order[start : start + batch_size]))

    def rows(self, rows: NDArray[np.intp]) -> Batch:
        """The batch of certain rows."""
        return tf.nest.map_structure(lambda array: _chosen(array, rows), self._arrays)

    def _pipeline(self, batch_size: int) -> FitData:
        examples = tf.data.Dataset.from_tensor_slices(self._arrays)
        batches = examples.shuffle(min(self.examples, SHUFFLED_AT_ONCE)).repeat().batch(batch_size, drop_remainder=True)
        return FitData(batches.prefetch(tf.data.AUTOTUNE))


class PipelineFeed(Feed):
    """Batches as a ``tf.data.Dataset``, a ``PyDataset`` or a generator makes them."""

    def __init__(self, data: FitData) -> None:
        """Take a pipeline, and look at its first batch."""
        self._data = data
        self.own_batch_size = batch_size_of(first_batch(data))
        self.examples = self._batches() * self.own_batch_size

    def _batches(self) -> int:
        pipeline = self._data.x
        if self._data.steps_per_epoch:
            return self._data.steps_per_epoch
        if isinstance(pipeline, keras.utils.PyDataset):
            return pipeline.num_batches or 0
        return max(0, int(pipeline.cardinality())) if isinstance(pipeline, tf.data.Dataset) else 0

    def check_batch_size(self, batch_size: int) -> None:
        """As :class:`Feed` says."""
        if batch_size != self.own_batch_size and not isinstance(self._data.x, tf.data.Dataset):
            raise StepbenchError(
                f"The pipeline makes batches of {self.own_batch_size}: leave --batch-size out, or have it make "
                f"batches of {batch_size}."
            )

    def _each(self, batch_size: int, visit: Visit, seed: int | None, passes: int) -> None:
        if seed is not None:
            keras.utils.set_random_seed(seed)

        def train_function(batches: Iterator[Batch]) -> None:
            batch = next(batches)
            if batch_size_of(batch) == batch_size:
                visit(batch)

        drive(self._sized(batch_size), train_function, passes=passes, shuffle=seed is not None)

    def _pipeline(self, batch_size: int) -> FitData:
        data = self._sized(batch_size)
        return replace(data, x=data.x.repeat()) if isinstance(data.x, tf.data.Dataset) else data

    def _sized(self, batch_size: int) -> FitData:
        if batch_size == self.own_batch_size:
            return self._data
        return replace(self._data, x=self._data.x.rebatch(batch_size, drop_remainder=True))


class GeneratorFeed(PipelineFeed):
    """Batches that a generator makes, each once; not read by the threads of ``fit``, which read ahead and lose some."""

    def __init__(self, data: FitData) -> None:
        """Take a generator, and keep its first batch for who comes first."""
        self._data = data
        self._kept: list[Batch] = []
        self._given = 0
        self._kept = list(itertools.islice(self._batches_left(), 1))
        if not self._kept:
            raise data_ended(self._given)
        self.own_batch_size = batch_size_of(self._kept[0])
        self.examples = (data.steps_per_epoch or 0) * self.own_batch_size

    def _each(self, batch_size: int, visit: Visit, seed: int | None, passes: int) -> None:
        if seed is not None:
            keras.utils.set_random_seed(seed)
        wanted = ENDLESS if passes == ENDLESS else (self._data.steps_per_epoch or ENDLESS) * passes
        shown = 0
        for batch in itertools.islice(self._batches_left(), wanted):
            shown += 1
            if batch_size_of(batch) == batch_size:
                visit(batch)
        if shown < wanted and (passes == ENDLESS or not shown):
            raise data_ended(self._given)

    def _batches_left(self) -> Iterator[Batch]:
        while self._kept:
            yield self._kept.pop()
        for batch in self._data.x:
            self._given += 1
            yield as_tensors(batch)


def feed_of(data: FitData) -> Feed:
    """The feed of arrays, of a pipeline, or of a generator."""
    if isinstance(data.x, GeneratorType):
        return GeneratorFeed(data)
    return ArrayFeed(data) if data.is_arrays else PipelineFeed(data)


def as_tensors(batch: Any) -> Batch:
    """What a generator gives, as tensors of the dtypes that it has."""
    return tf.nest.map_structure(lambda part: None if part is None else tf.convert_to_tensor(part), batch)


def batch_size_of(batch: Batch, axis: int = 0) -> int:
    """The length of the first axis of the inputs; of stacked batches, that is their second."""
    return int(tf.nest.flatten(batch)[0].shape[axis])


def stacked(batches: list[Batch]) -> Batch:
    """Batches under a new first axis, as a call of several steps takes them; one alone stays as it is."""
    if len(batches) == 1:
        return batches[0]
    return tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)


def first_batch(data: FitData) -> Batch:
    """The first batch that ``fit`` makes of data."""
    found: list[Batch] = []

    def train_function(batches: Iterator[Batch]) -> None:
        found.append(next(batches))
        raise Enough

    drive(data, train_function)
    return found[0]


def _cast(array: Any, dtype: tf.DType) -> Any:
    return array if isinstance(array, TENSORS) else np.asarray(array).astype(dtype.as_numpy_dtype, copy=False)


def _chosen(array: Any, rows: NDArray[np.intp]) -> tf.Tensor:
    return tf.gather(array, rows) if isinstance(array, TENSORS) else tf.constant(array[rows])


def _weights_of(data: FitData) -> list[NDArray[Any]]:
    """Sample weights, or class weights as such, an array for each output, by Keras' own rules."""
    weights: list[list[NDArray[Any]]] = []

    def train_function(batches: Iterator[Batch]) -> None:
        weights.append([part.numpy() for part in tf.nest.flatten(next(batches)[2])])

    no_inputs = np.zeros((rows_in(data.x), 1))
    drive(replace(data, x=no_inputs, batch_size=4096), train_function, passes=1)
    return [np.concatenate(parts) for parts in zip(*weights, strict=True)]
