"""Inside a worker: watch what TensorFlow really does with a step.

The operations of one step are seen through an op callback, TensorFlow's own hook for debuggers
(``tf.debugging.experimental.enable_dump_debug_info`` stands on it). It sees each operation that eager code
runs, and compiled functions as one operation, whose definition is then read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import op_callbacks

from stepbench.records.cases import EAGER, GRAPH, XLA

_COMPILED = re.compile(r"Compilation of XLA executable time: .*?\((\d+) us\)")
_ASSIGNMENT = re.compile(r"Assign(Add|Sub)?VariableOp|Resource(Sparse)?(Apply|Scatter)")
_PRODUCT = re.compile(
    r"_?(Fused|XlaDot|XlaConv|Mkl|MklNative)*(Depthwise)?(Conv|MatMul|BatchMatMul|Einsum|Dot|CudnnRNN)"
)


class TraceCounter:
    """Counts the functions traced in this process from now on, nested ones as part of their outermost."""

    def __init__(self) -> None:
        self.count = 0
        graph_class = tf.__internal__.FuncGraph
        original = graph_class.__init__

        def counted(graph: object, *args: object, **kwargs: object) -> None:
            self.count += not tf.inside_function()
            original(graph, *args, **kwargs)

        graph_class.__init__ = counted


@dataclass(frozen=True)
class XlaCompilations:
    """XLA's compilations so far in this process."""

    count: int
    seconds: float


def read_xla_compilations(log: Path) -> XlaCompilations:
    """Count compilations in the log of a worker, whose environment has TensorFlow write a line for each."""
    # A worker's output is a file; a terminal or a pipe, where a script uses this, would block.
    text = log.read_text(errors="replace") if log.is_file() else ""
    microseconds = [int(found) for found in _COMPILED.findall(text)]
    return XlaCompilations(len(microseconds), sum(microseconds) / 1e6)


@dataclass
class StepObservation:
    """The operations of one step."""

    function_calls: int = 0
    """Compiled functions called from eager code."""
    eager_updates: int = 0
    """Assignments to variables outside of compiled functions."""
    products: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Convolutions and matrix products: ``eager``, ``graph`` or ``xla`` → compute dtype → count."""
    names: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """What they are called: compute dtype → the operation's type, in a graph after the layer that it belongs to."""

    def add_product(self, where: str, dtype: Any, name: str) -> None:
        """Count one."""
        dtype = "unknown" if dtype is None else str(tf.as_dtype(dtype).name)
        self.products[where][dtype] += 1
        self.names[dtype].add(name)


def observe_step(step: Callable[[], object]) -> StepObservation:
    """Run ``step`` once and say what it computed."""
    observation = StepObservation()

    def callback(
        op_type: str | bytes, _: Any, attrs: tuple[Any, ...] | None, *__: Any, graph: Any = None, **___: Any
    ) -> None:
        if graph is not None:  # Being traced, not run.
            return
        op_type = op_type.decode() if isinstance(op_type, bytes) else op_type
        if context.context().has_function(op_type):
            observation.function_calls += 1
            _observe_function(op_type, GRAPH, observation)
        elif _ASSIGNMENT.match(op_type):
            observation.eager_updates += 1
        elif _PRODUCT.match(op_type):
            pairs = dict(zip(attrs[::2], attrs[1::2], strict=True)) if attrs else {}
            observation.add_product(EAGER, pairs.get("T", pairs.get("Ta")), op_type)

    op_callbacks.add_op_callback(callback)
    try:
        step()
    finally:
        op_callbacks.remove_op_callback(callback)
    return observation


def _observe_function(name: str, where: str, observation: StepObservation) -> None:
    definition = context.context().get_function_def(name)
    must_compile = definition.attr.get("_XlaMustCompile")
    where = XLA if must_compile is not None and must_compile.b else where
    for node in definition.node_def:
        if _PRODUCT.match(node.op):
            dtype = next((node.attr[key].type for key in ("T", "Ta", "LhsT") if key in node.attr), None)
            observation.add_product(where, dtype, _name_of(node))
        for called in _functions_in(node):
            if context.context().has_function(called):
                _observe_function(called, where, observation)


def _name_of(node: Any) -> str:
    """An operation's type after the innermost scope that is not named for it: a layer's, mostly, backwards too."""
    scopes = [scope for scope in node.name.split("/")[:-1] if re.sub(r"_\d+$", "", scope).lower() != node.op.lower()]
    return "/".join([*scopes[-1:], node.op])


def _functions_in(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
