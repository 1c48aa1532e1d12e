"""Inside a worker: what one step of a workload has to compute, counted from the graph of the plain train step.

The graph is traced for one batch of known shape and not optimised, so that it holds the operations as the step has
them. TensorFlow's own profiler is not asked: its statistics take the gradients of a convolution without padding to be
as large as those of one with it, which counts the built-in network 28 % too high (``tests/measuring/test_work.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from stepbench.records.cases import Precision
from stepbench.records.run import Work
from stepbench.training.task import Task

_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_MOVE_NOTHING = frozenset(
    (
        *("Placeholder", "Const", "NoOp", "Identity", "IdentityN", "StopGradient", "PreventGradient"),
        *("Reshape", "ExpandDims", "Squeeze", "EnsureShape", "Shape", "ShapeN", "Size", "Rank"),
        *("ReadVariableOp", "AssignVariableOp", "VarHandleOp"),
    )
)
"""They hand on a buffer that is there already, or look at its shape."""
_UPDATES_IN_PLACE = ("AssignAddVariableOp", "AssignSubVariableOp")
_IN_PLACE_PASSES = 3
"""Over the variable that is read and written, and over what is added to it."""
_TAKES_LONG = re.compile(
    r"MatMul|Conv(\d|V2|$)|Conv2d|Einsum|XlaDot|XlaCallModule|XlaCustomCall|PyFunc|RNN|LSTM|GRU|FFT|Cholesky|Eig|Svd|^Qr"
    r"|^Lu$|Matrix(Inverse|Solve|Triangular|Determinant|Logarithm|Exponential|SquareRoot)"
)
"""Types of operation that may be most of a step's work, or hide anything: one that is not counted is no 0."""


class UncountableError(Exception):
    """The work of something in a step is not known."""


@dataclass(frozen=True)
class Tally:
    """Floating-point operations of products, and bytes moved."""

    flops: float = 0.0
    bytes: float = 0.0
    uncounted: frozenset[str] = frozenset()
    """What there is beside, whose work is not known."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.flops + other.flops, self.bytes + other.bytes, self.uncounted | other.uncounted)

    def times(self, count: int) -> Tally:
        """So often the same."""
        return Tally(count * self.flops, count * self.bytes, self.uncounted)


def count_steps(task: Task, steps: Sequence[tuple[Precision, int]]) -> tuple[Work, ...]:
    """Count the workload's own step for each precision and batch size.

    Raises:
        StepbenchError: when the workload is wrong.
    """
    return tuple(_count_step(task, precision, batch_size) for precision, batch_size in steps)


def _count_step(task: Task, precision: Precision, batch_size: int) -> Work:
    state = task.build(precision, 0, batch_size)
    batch = task.feed.take(1, batch_size)[0]
    traced = tf.function(state.step, autograph=state.keras_model is None).get_concrete_function(batch)
    tally = tally_graph(traced.graph)
    return Work(tally.flops, tally.bytes, task.feed.examples, tuple(sorted(tally.uncounted)))


def tally_graph(graph: Any) -> Tally:
    """All operations that a function's graph runs, those of the functions that it calls among them."""
    return sum((_tally(operation) for operation in _run_by(graph)), Tally())


def _run_by(graph: Any) -> set[tf.Operation]:
    """What results or side effects depend on: the gradient of the first layer's input is there too, and never run."""
    pending = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    found: set[tf.Operation] = set()
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return found


def _tally(operation: tf.Operation) -> Tally:
    inner = [tally_graph(graph) for graph in _functions(operation)]
    try:
        if not inner:
            return Tally(_flops(operation), _bytes(operation))
        if operation.type in _BRANCHES:  # One runs: the larger is the usual step, as with a loss that is finite.
            unknown = frozenset().union(*(tally.uncounted for tally in inner))
            return Tally(max(tally.flops for tally in inner), max(tally.bytes for tally in inner), unknown)
        times = _most_turns(operation) if operation.type in _LOOPS else 1
        return sum(inner, Tally()).times(times)
    except UncountableError as error:
        return Tally(bytes=_bytes(operation), uncounted=frozenset((str(error),)))


def _functions(operation: tf.Operation) -> Iterator[Any]:
    """The graphs of the functions that an operation calls, as they were traced: those know the shapes of variables."""
    for value in operation.node_def.attr.values():
        for function in (value.func, *value.list.func):
            if function.name:
                yield operation.graph._get_function(function.name).graph  # noqa: SLF001 - nothing public tells.


def _most_turns(loop: tf.Operation) -> int:
    """``tf.while_loop`` hands its loops the most turns that they may take; Keras' recurrent layers take them all."""
    try:  # It is computed from constants, or else not known before the step runs.
        turns = int(tf.compat.v1.Session(graph=loop.graph).run(loop.inputs[1]))
    except (tf.errors.OpError, TypeError, IndexError):
        turns = -1
    if turns < 0:
        raise UncountableError("a loop of unknown length (give it maximum_iterations)")
    return turns


def _flops(operation: tf.Operation) -> float:
    formula = _FORMULAS.get(operation.type)
    if formula:
        return float(formula(operation))
    if _TAKES_LONG.search(operation.type):
        raise UncountableError(f"an operation of type {operation.type}")
    return 0.0


def _bytes(operation: tf.Operation) -> float:
    if operation.type in _MOVE_NOTHING:
        return 0.0
    if operation.type in _UPDATES_IN_PLACE:
        return _IN_PLACE_PASSES * _size(operation.inputs[1])
    return sum(_size(tensor) for tensor in (*operation.inputs, *operation.outputs))


def _size(tensor: tf.Tensor) -> float:
    """In bytes; handles and lists of tensors have none, and what is of unknown shape is left out."""
    elements = tensor.shape.num_elements()
    return float(elements * tensor.dtype.size) if elements is not None and tensor.dtype.size else 0.0


def _elements(*sizes: int | None) -> int:
    if None in sizes:
        raise UncountableError("a product whose shape is not known before it runs")
    return math.prod(size for size in sizes if size is not None)


def _matrix_product(operation: tf.Operation) -> int:
    """Each element of the result takes as many multiply-adds as the inner dimension is long."""
    attributes = operation.node_def.attr
    is_transposed = attributes["transpose_a"].b or attributes["adj_x"].b
    inner = operation.inputs[0].shape[-2 if is_transposed else -1]
    return 2 * _elements(*operation.outputs[0].shape, inner)


def _einsum(operation: tf.Operation) -> int:
    """A multiply-add for each combination of indices; of one operand there is nothing to multiply."""
    terms = operation.get_attr("equation").decode().partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operation.inputs, strict=True):
        for label, size in zip(_labels(term, tensor.shape.rank), tensor.shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), _elements(size))
    return 2 * _elements(*sizes.values()) if len(terms) > 1 else 0


def _labels(term: str, rank: int) -> list[str]:
    """One for each axis; those under an ellipsis are numbered from the right, as they are broadcast."""
    before, dots, after = term.strip().partition("...")
    hidden = range(rank - len(before) - len(after), 0, -1) if dots else ()
    return [*before, *(f"...{number}" for number in hidden), *after]


def _convolution(results: Callable[[tf.Operation], Any], filters: Callable[[tf.Operation], Any], axes: slice) -> Any:
    """A convolution or a gradient of one: both take each multiply-add of the convolution once.

    Args:
        results: finds the tensor that the convolution gives, or its gradient.
        filters: finds the tensor of the filters, or its gradient.
        axes: those of the filters that each result sums over.
    """

    def flops(operation: tf.Operation) -> int:
        return 2 * _elements(*results(operation).shape, *filters(operation).shape[axes])

    return flops


def _convolutions(forward: str, of_input: str, of_filters: str, axes: slice) -> dict[str, Callable[[Any], int]]:
    return {
        forward: _convolution(lambda op: op.outputs[0], lambda op: op.inputs[1], axes),
        of_input: _convolution(lambda op: op.inputs[2], lambda op: op.inputs[1], axes),
        of_filters: _convolution(lambda op: op.inputs[2], lambda op: op.outputs[0], axes),
    }


_ALL_BUT_RESULTS = slice(None, -1)
_WINDOW = slice(0, 2)
"""Of a depthwise convolution, which sums over no channels."""
_FORMULAS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matrix_product),
    "Einsum": _einsum,
    **_convolutions("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", _ALL_BUT_RESULTS),
    **_convolutions("Conv3D", "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2", _ALL_BUT_RESULTS),
    **_convolutions(
        "DepthwiseConv2dNative",
        "DepthwiseConv2dNativeBackpropInput",
        "DepthwiseConv2dNativeBackpropFilter",
        _WINDOW,
    ),
}
