"""What is used of TensorFlow, Keras and xprof without their promise: each is there, and does what we take it for."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from stepbench.records.cases import Device
from stepbench.training.devices import use_device

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

VERSIONS = f"with TensorFlow {tf.__version__} and Keras {keras.__version__}"


def test_keras_walks_all_layers_of_a_model() -> None:
    inner = keras.Sequential([keras.layers.Dense(2, name="within")])
    model = keras.Sequential([keras.Input((3,)), inner])
    walk = getattr(model, "_flatten_layers", lambda: ())
    assert "within" in [layer.name for layer in walk()], (
        f"keras.Layer._flatten_layers() does not walk nested layers any more {VERSIONS}: see training/state.py"
    )


def test_an_optimizer_knows_the_weights_that_it_was_built_for() -> None:
    weights = [keras.Variable(np.ones(3)), keras.Variable(np.ones(2))]
    optimizer = keras.optimizers.SGD()
    optimizer.build(weights)
    known = getattr(optimizer, "_trainable_variables", [])
    assert [id(weight) for weight in known] == [id(weight) for weight in weights], (
        f"keras.Optimizer._trainable_variables are not those that it was built for any more {VERSIONS}: "
        "see worker/observer.py and worker/twin.py"
    )


def test_a_graph_gives_the_functions_that_its_operations_call() -> None:
    inner = tf.function(lambda x: x * 2)
    outer = tf.function(lambda x: inner(x) + 1).get_concrete_function(tf.TensorSpec((), tf.float32))
    called = {
        operation.type: operation.get_attr("f").name
        for operation in outer.graph.get_operations()
        if "f" in operation.node_def.attr
    }
    get = getattr(outer.graph, "_get_function", lambda _: None)
    assert called
    assert all(hasattr(get(name), "graph") for name in called.values()), (
        f"tf.Graph._get_function() gives no graph any more {VERSIONS}: see worker/work.py"
    )


def test_operations_can_be_listened_to_and_functions_looked_up() -> None:
    from tensorflow.python.framework import op_callbacks

    heard: list[str] = []
    op_callbacks.add_op_callback(callback := lambda kind, *_, **__: heard.append(str(kind)))
    try:
        tf.linalg.matmul(tf.ones((2, 2)), tf.ones((2, 2)))
    finally:
        op_callbacks.remove_op_callback(callback)
    assert any("MatMul" in kind for kind in heard), (
        f"op_callbacks hear nothing any more {VERSIONS}: see worker/evidence.py"
    )
    concrete = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec((), tf.float32))
    concrete(tf.zeros(()))
    assert context.context().has_function(concrete.name), (
        f"context.has_function() does not know a traced function any more {VERSIONS}: see worker/evidence.py"
    )
    assert context.context().get_function_def(concrete.name).signature.name
    assert issubclass(type(concrete.graph), tf.__internal__.FuncGraph)


def test_keras_makes_its_train_function_anew() -> None:
    assert "force" in inspect.signature(keras.Model.make_train_function).parameters, (
        f"keras.Model.make_train_function() cannot be forced any more {VERSIONS}: see training/executions.py"
    )


def test_traces_can_be_read() -> None:
    from tensorflow.compiler.xla.service import hlo_pb2
    from tensorflow.tsl.profiler.protobuf import xplane_pb2
    from xprof.convert import raw_to_tool_data
    from xprof.protobuf.op_stats_pb2 import OpStats

    assert {"planes"} <= set(xplane_pb2.XSpace.DESCRIPTOR.fields_by_name), "see worker/xplane.py"
    assert {"hlo_module"} <= set(hlo_pb2.HloProto.DESCRIPTOR.fields_by_name), "see worker/xplane.py"
    assert {"run_environment"} <= set(OpStats.DESCRIPTOR.fields_by_name), "see report/tensorboard.py"
    assert callable(raw_to_tool_data.xspace_to_tool_names), "see worker/profile.py"
    assert callable(raw_to_tool_data.xspace_to_tool_data), "see worker/profile.py"
