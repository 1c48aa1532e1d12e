"""Inside a worker: what TensorFlow is like on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import tensorflow as tf

from stepbench.records.cases import Device
from stepbench.records.doctor import TensorFlowFacts
from stepbench.training.devices import use_device
from stepbench.worker.evidence import read_xla_compilations
from stepbench.worker.timing import WORKER_LOG

CALLS = 6
"""XLA compiles a graph unasked only once it has run a few times."""
OPERATIONS = 8
"""It leaves alone what is shorter than 4 operations."""
_INTER_OP_POOL, _INTRA_OP_POOL = "tf_Compute", "tf_XLAEigen"
"""TensorFlow names these threads. XLA's own are as many as those that share an operation outside of it."""
_MISSING = re.compile(r"Could not load dynamic library '([^']+)'")
_ONEDNN_ON = "oneDNN custom operations are on"


def examine_tensorflow() -> TensorFlowFacts:
    """Load what TensorFlow loads, run a graph with and without XLA on the CPU, and read the worker's log."""
    build = tf.sysconfig.get_build_info()
    gpus = tf.config.list_physical_devices("GPU")
    use_device(Device.CPU)  # A GPU's memory is for what is measured.
    x = tf.eye(64)
    inter_op_threads = count_threads(_INTER_OP_POOL)
    for _ in range(CALLS):
        _graph(x)
    unasked = read_xla_compilations(WORKER_LOG).count
    _compiled(x)
    log = WORKER_LOG.read_text(errors="replace")
    return TensorFlowFacts(
        gpus=len(gpus),
        cuda=build.get("cuda_version"),
        cudnn=build.get("cudnn_version"),
        gpu_code=tuple(build.get("cuda_compute_capabilities", ())),
        onednn=_ONEDNN_ON in log,
        intra_op_threads=count_threads(_INTRA_OP_POOL),
        inter_op_threads=inter_op_threads,
        compiles_graphs=unasked > 0,
        missing_libraries=missing_libraries(log),
    )


def missing_libraries(log: str) -> tuple[str, ...]:
    """The shared libraries that a log says were not found, each once, in the order of asking."""
    return tuple(dict.fromkeys(_MISSING.findall(log)))


def count_threads(name: str, tasks: Path = Path("/proc/self/task")) -> int | None:
    """This process's threads of that name; ``None`` when it has none, as names may change."""
    return sum(_read(thread / "comm").strip() == name for thread in tasks.glob("*")) or None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # The thread has ended.
        return ""


def _many_operations(x: tf.Tensor) -> tf.Tensor:
    for _ in range(OPERATIONS):
        x = tf.tanh(tf.matmul(x, x) + x)
    return x


_graph = tf.function(_many_operations, autograph=False)
_compiled = tf.function(_many_operations, autograph=False, jit_compile=True)
