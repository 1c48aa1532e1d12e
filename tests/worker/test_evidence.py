"""What TensorFlow really does, watched in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from stepbench.worker.evidence import StepObservation, TraceCounter, observe_step, read_xla_compilations

pytestmark = pytest.mark.tensorflow

SQUARE = 4


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> TraceCounter:
    graph_class = tf.__internal__.FuncGraph
    # So that it is put back afterwards.
    monkeypatch.setattr(graph_class, "__init__", graph_class.__init__)
    return TraceCounter()


@pytest.fixture
def matrix() -> tf.Tensor:
    return tf.eye(SQUARE)


def plain(products: StepObservation) -> dict[str, dict[str, int]]:
    return {where: dict(counts) for where, counts in products.products.items()}


def test_a_function_with_branches_and_loops_inside_is_one_trace(counter: TraceCounter, matrix: tf.Tensor) -> None:
    def branch_and_loop(x: tf.Tensor) -> tf.Tensor:
        doubled = tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: x)
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y + doubled), (0, x))[1]

    step = tf.function(branch_and_loop)
    for _ in range(3):
        step(matrix)
    assert counter.count == 1


def test_a_function_within_a_function_is_part_of_its_trace(counter: TraceCounter, matrix: tf.Tensor) -> None:
    inner = tf.function(lambda x: x @ x)
    tf.function(lambda x: inner(x) + 1)(matrix)
    assert counter.count == 1


def test_a_retrace_is_counted(counter: TraceCounter, matrix: tf.Tensor) -> None:
    step = tf.function(lambda x: x + 1)
    step(matrix)
    step(matrix[:2])
    assert counter.count == 2


def test_eager_code_is_no_trace(counter: TraceCounter, matrix: tf.Tensor) -> None:
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        loss = tf.reduce_sum(matrix @ matrix)
    tape.gradient(loss, matrix)
    assert counter.count == 0


def test_products_are_seen_where_they_run(matrix: tf.Tensor) -> None:
    def halved(x: tf.Tensor) -> tf.Tensor:
        half = tf.cast(x, tf.bfloat16)
        return tf.cast(half @ half, tf.float32)

    def doubled(x: tf.Tensor) -> tf.Tensor:
        double = tf.cast(x, tf.float64)
        return compiled(x) + tf.cast(double @ double, tf.float32)

    def step() -> None:
        graph(matrix)
        tf.linalg.matmul(matrix, matrix)

    compiled = tf.function(halved, jit_compile=True)
    graph = tf.function(doubled)
    untraced, traced = observe_step(step), observe_step(step)
    assert plain(traced) == {"eager": {"float32": 1}, "graph": {"float64": 1}, "xla": {"bfloat16": 1}}
    assert traced.function_calls == 1
    # What happens while tracing is not what happens in a step.
    assert untraced == traced


def test_products_inside_branches_and_loops_are_seen(matrix: tf.Tensor) -> None:
    def step() -> tf.Tensor:
        branched = tf.cond(tf.reduce_sum(matrix) > 0, lambda: matrix @ matrix, lambda: matrix)
        return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x @ x), (0, branched))[1]

    assert plain(observe_step(tf.function(step))) == {"graph": {"float32": 2}}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_convolutions_and_contractions_are_products(matrix: tf.Tensor, dtype: str) -> None:
    pixels = tf.ones((1, 8, 8, 3), dtype)
    kernel = tf.Variable(tf.ones((3, 3, 3, 2), dtype))
    square = tf.cast(matrix, dtype)

    def step() -> None:
        with tf.GradientTape() as tape:
            features = tf.nn.conv2d(pixels, kernel, 1, "SAME")
        tape.gradient(features, kernel)
        tf.nn.depthwise_conv2d(pixels, kernel[..., :1], (1, 1, 1, 1), "SAME")
        tf.einsum("ij,jk->ik", square, square)
        tf.matmul(square[None], square[None])

    # The first convolution has two gradients, one of them of pixels that nobody asked for.
    assert plain(observe_step(step)) == {"eager": {dtype: 6}}
    assert plain(observe_step(tf.function(step))) == {"graph": {dtype: 6}}


def test_products_have_the_names_of_their_layers_where_they_are_known(matrix: tf.Tensor) -> None:
    def step() -> tf.Tensor:
        wide = tf.cast(matrix, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(wide)
            with tf.name_scope("model/head"):
                product = wide @ wide
        gradient = tape.gradient(product, wide)
        return matrix @ matrix + tf.cast(gradient, tf.float32)

    assert observe_step(step).names == {"float32": {"MatMul"}, "float64": {"MatMul"}}
    assert observe_step(tf.function(step)).names == {"float32": {"MatMul"}, "float64": {"head/MatMul"}}


def test_other_operations_are_no_products(matrix: tf.Tensor) -> None:
    assert plain(observe_step(lambda: tf.nn.relu(matrix + matrix) * tf.reduce_mean(matrix))) == {}


def test_watching_ends_with_the_step_also_if_it_raises(matrix: tf.Tensor) -> None:
    observation = observe_step(lambda: matrix @ matrix)
    tf.linalg.matmul(matrix, matrix)
    assert plain(observation) == {"eager": {"float32": 1}}

    def step() -> None:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        observe_step(step)
    assert plain(observe_step(lambda: matrix @ matrix)) == {"eager": {"float32": 1}}


def test_compilations_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    line = (
        "I0000 00:00:1795 317 device_compiler.h:538] Compilation of XLA executable time: {} (cumulative: 2 s, max: 1)"
    )
    lines = [line.format("1.5 s (1500000 us)"), "users' code: compilation", line.format("461 ms (500000 us)")]
    log.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe")
    found = read_xla_compilations(log)
    assert found.count == 2
    assert found.seconds == pytest.approx(2)


def test_without_a_log_there_was_no_compilation(tmp_path: Path) -> None:
    found = read_xla_compilations(tmp_path / "missing.log")
    assert (found.count, found.seconds) == (0, 0)
