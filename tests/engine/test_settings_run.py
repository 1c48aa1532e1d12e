"""Settings in real workers: applied before TensorFlow is imported, found again inside, or the case is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import places
import pytest

from stepbench.commands.plan import make_plan
from stepbench.commands.request import Request
from stepbench.commands.run import measure_run, start_run
from stepbench.probes.settings import available_values
from stepbench.records.cases import Precision
from stepbench.records.run import Measurement
from stepbench.records.settings import Setting
from stepbench.records.store import Store

pytestmark = pytest.mark.tensorflow


def measured(settings: dict[str, str], results: Path, workload: str = f"{places.TINY}:workload") -> Measurement:
    """One replicate of a graph that has them."""
    request = Request(
        workloads=(workload,),
        executions=("graph",),
        precisions=(Precision.FLOAT32,),
        batch_sizes=(16,),
        settings=tuple((Setting(name, value),) for name, value in settings.items()),
        data="synthetic",
    )
    planned = make_plan(replace(request, replicates=1, rounds=1, input_pipeline=False))
    store = Store(results)
    (found,) = measure_run(start_run(planned, store), store).measurements
    return found


def test_settings_are_found_again_in_the_worker(tmp_path: Path) -> None:
    asked = {"env:OWN": "a b", "inter_threads": "3", "intra_threads": "1", "onednn": "off", "processors": "1"}
    if found := available_values("malloc"):
        asked["malloc"] = found[0]
    case = measured(asked, tmp_path)
    assert case.failure is None
    assert case.replicates[0].evidence.settings == asked
    assert case.case.id.startswith("tiny/graph/float32/cpu/b16/env:OWN=a%20b/inter_threads=3/intra_threads=1/")


SCRIPT = """
import keras, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(2)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("sgd", "mse")
model.fit(tf.zeros((32, 4)), tf.zeros((32, 3)), batch_size=16)
"""


def test_a_script_that_has_its_own_threads_is_not_what_was_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "own_threads.py"
    script.write_text(SCRIPT)
    found = measured({"intra_threads": "1"}, tmp_path / "results", str(script))
    assert found.failure
    assert found.failure.message == "it is to run with intra_threads=1, but intra_threads is 2."
