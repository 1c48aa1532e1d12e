from __future__ import annotations

import sys

import places
import pytest

from stepbench import cli
from stepbench.errors import StepbenchError
from stepbench.records.cases import Device
from stepbench.records.protocol import Describe
from stepbench.training.devices import use_device
from stepbench.worker.main import _described

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

EXAMPLES = places.EXAMPLES


@pytest.mark.parametrize(
    ("example", "name", "batch_size"),
    [
        ("tabular.py:workload", "tabular", 64),
        ("plain_script.py", "plain_script", 64),
        ("pipeline.py:workload", "ratings", 128),
        ("gan.py:gan", "gan", 64),
    ],
)
def test_example_of_each_kind_is_seen_with_its_own_batch_size(example: str, name: str, batch_size: int) -> None:
    locator = f"{EXAMPLES}/{example}"
    found, task = _described(locator, Describe((locator,), ("graph",), (), "synthetic", ()))
    assert found == name
    assert task.usual_batch_size == batch_size


def test_script_is_told_with_all_of_its_examples() -> None:
    locator = f"{EXAMPLES}/plain_script.py"
    _, task = _described(locator, Describe((locator,), ("graph",), (), "synthetic", (16,)))
    assert "it trains Sequential waves" in task.remarks[0]
    assert "of 8,000 examples; callbacks, epochs decide nothing here" in task.remarks[0]


def test_file_of_a_workload_that_is_named_as_a_script_is_told_from_one() -> None:
    locator = f"{EXAMPLES}/gan.py"
    with pytest.raises(StepbenchError, match=rf"gan\.py defines a workload: use --workload {locator}:gan\."):
        _described(locator, Describe((locator,), ("graph",), (), "synthetic", ()))


def test_training_without_a_keras_model_is_trained_and_evaluated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--workload", f"{EXAMPLES}/gan.py:gan", "--data", "synthetic", "--limit", "640", "--epochs", "1")
    monkeypatch.setattr(sys, "argv", ["stepbench", "train", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    first, epoch, test, _ = capsys.readouterr().out.splitlines()
    assert first == "gan/graph/float32/cpu/b64, data synthetic, 1 epoch"
    assert epoch.startswith("Epoch 1, Loss: ")
    assert test.startswith("Test set, Distance from the ring: ")
