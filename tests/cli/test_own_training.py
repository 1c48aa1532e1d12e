"""A training with two optimizers and no Keras model, measured through the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import places
import pytest

from stepbench.records.store import Store

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))


def test_a_gan_is_measured_eagerly_as_a_graph_and_by_xla(tmp_path: Path) -> None:
    command = [
        *(STEPBENCH, "run", "--workload", f"{places.WORKLOADS}/gan.py:training", "--execution", "eager,graph,xla"),
        *("--precision", "float32", "--device", "cpu", "--data", "synthetic", "--replicates", "1", "--rounds", "1"),
        *("--no-verify", "--no-trace", "--results", str(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = Store(tmp_path).read()
    assert [str(found.case) for found in run.measurements if found.failure] == []
    batch_sizes = {found.case.batch_size for found in run.measurements}
    assert batch_sizes == {8}, "the pipeline's own"
    for found in run.measurements:
        (replicate,) = found.replicates
        assert replicate.closing is not None
        assert replicate.closing.input_wait is not None
        assert replicate.closing.finite_variables
        assert found.work is not None
        assert found.work.flops > 0
