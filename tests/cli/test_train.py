from __future__ import annotations

import contextlib
import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import places
import pytest

from stepbench import cli
from stepbench.records.cases import Device
from stepbench.training.devices import use_device, visible_devices

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

EXAMPLES = places.EXAMPLES
EPOCH_LINE = re.compile(r"Epoch (\d+), Loss: (\d+\.\d+), Accuracy: (\d+\.\d\d)%")
SMALL = ("--data", "synthetic", "--limit", "640", "--epochs", "3")
WITHOUT_A_GPU = pytest.mark.skipif(Device.GPU in visible_devices(), reason="there is a GPU here")


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "stepbench.cli", "train", *options]


def train(*options: str) -> list[str]:
    """What a training prints, line by line; it must succeed."""
    done = subprocess.run(command(*options), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def train_here(*options: str) -> tuple[object, str]:
    """Train in this process, which has loaded TensorFlow already; give the exit code, and what is printed."""
    printed = io.BytesIO()
    output = io.TextIOWrapper(printed, encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", ["stepbench", "train", *options])
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code, printed.getvalue().decode()


def epochs(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("Epoch ")]


@pytest.fixture(scope="module")
def uninterrupted() -> list[str]:
    code, printed = train_here(*SMALL)
    assert code == 0
    return printed.splitlines()


def test_training_shows_the_model_each_epoch_the_test_set_and_the_speed(uninterrupted: list[str]) -> None:
    assert any("Trainable params: 122,570" in line for line in uninterrupted)
    assert "cifar-cnn/graph/float32/cpu/b64, data synthetic, 3 epochs" in uninterrupted
    shown = [EPOCH_LINE.fullmatch(line) for line in epochs(uninterrupted)]
    assert [found and found[1] for found in shown] == ["1", "2", "3"]
    *_, evaluation, speed = uninterrupted
    assert re.fullmatch(r"Test set of 640 examples, Loss: \d+\.\d+, Accuracy: \d+\.\d\d%", evaluation)
    assert re.fullmatch(r"Trained on [\d ]+ examples a second, first call and input included\.", speed)


def test_training_that_was_killed_continues_as_if_it_had_not_been(uninterrupted: list[str], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints"
    options = (*SMALL, "--checkpoint", str(checkpoint))
    with subprocess.Popen(command(*options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
        while not (checkpoint / "epoch-0001.npz").exists() and training.poll() is None:
            time.sleep(0.001)
        training.kill()
    assert training.returncode == -signal.SIGKILL
    assert not (checkpoint / "epoch-0003.npz").exists(), "it was killed too late to show anything"

    code, printed = train_here(*options)
    continued = printed.splitlines()
    assert code == 0
    assert epochs(continued) == epochs(uninterrupted)
    assert any(line.startswith("(continued from the checkpoint of epoch ") for line in continued)
    assert continued[-2] == uninterrupted[-2]

    # A training that is complete has its figures shown again.
    assert epochs(train_here(*options)[1].splitlines()) == epochs(uninterrupted)


@pytest.mark.slow
def test_workload_and_step_of_ones_own_are_trained() -> None:
    lines = train(
        *("--workload", f"{EXAMPLES}/tabular.py:workload", "--plugin", f"{EXAMPLES}/hand_written_step.py"),
        *("--execution", "raw-adam", "--precision", "mixed_bfloat16", "--steps-per-call", "10", "--shuffle"),
        *("--data", "synthetic", "--limit", "6400", "--epochs", "2"),
    )
    assert "tabular/raw-adam/mixed_bfloat16/cpu/b64/k10, data synthetic, 2 epochs" in lines
    first, second = (EPOCH_LINE.fullmatch(line) for line in epochs(lines))
    assert first
    assert second
    assert float(second[2]) < float(first[2])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--workload absent.module:x", "Importing absent.module raised ModuleNotFoundError"),
        ("--workload {tmp}/broken.py:x", "Importing {tmp}/broken.py raised ZeroDivisionError: division by zero."),
        ("--workload {examples}/tabular.py:absent", "has no attribute 'absent': name the workload it defines."),
        (
            "--workload {examples}/tabular.py:CLASSES",
            "is a int: it must be a stepbench.Workload, a stepbench.Training or a callable",
        ),
        ("--batch-size 129", "The training set has 128 examples: choose a batch size of at most that, not 129."),
        ("--execution fast --plugin {examples}/hand_written_step.py", "or name its file with --plugin."),
        ("--plugin {tmp}/broken.py", "Importing {tmp}/broken.py raised ZeroDivisionError: division by zero."),
        ("--seed -1", "seed must be from 0 to 4294967295, not -1."),
        ("--checkpoint {tmp}/broken.py", "The folder {tmp}/broken.py cannot be made (File exists): choose another"),
        pytest.param("--device gpu", "TensorFlow sees no GPU here: use --device cpu", marks=WITHOUT_A_GPU),
    ],
)
def test_wrong_use_is_one_sentence(
    options: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")

    def filled(text: str) -> str:
        return text.format(tmp=tmp_path, examples=EXAMPLES)

    # What is given twice counts as given last.
    code, _ = train_here(*SMALL, "--limit", "128", *(filled(option) for option in options.split()))
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("stepbench: ")
    assert filled(reason) in line
