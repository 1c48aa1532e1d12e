"""Ordinary training scripts, run up to their first ``fit``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from built import SYNTHETIC, ready

import stepbench
from stepbench.records.cases import Device
from stepbench.training.devices import use_device
from stepbench.training.script import Reached, Script, run_to_fit
from stepbench.training.task import Task, open_task

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

HEAD = """
import sys, keras, numpy as np
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x, y = np.arange(300.0).reshape(100, 3), np.arange(100.0)
"""
Write = Callable[..., Script]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(code: str, *arguments: str, head: str = HEAD) -> Script:
        path = tmp_path / "train.py"
        path.write_text(head + code)
        return Script(path, arguments)

    return written


def refusal(script: Script) -> str:
    with pytest.raises(stepbench.StepbenchError) as caught:
        run_to_fit(script)
    message = str(caught.value)
    assert "\n" not in message
    return message


def built(script: Script) -> Task:
    task = open_task(script, SYNTHETIC)
    task.build("float32", 0)
    return task


def test_what_is_handed_to_the_first_fit_is_the_workload(write: Write, tmp_path: Path) -> None:
    script = write(
        "model.fit(x, y, 16, epochs=3, callbacks=[])\n"
        "open('after', 'w')\n"
        "model.fit(x[:1], y[:1])\n"
        "model.save('model.keras')\n"
    )
    reached = run_to_fit(script)
    assert set(reached.arguments) == {"x", "y", "batch_size", "epochs", "callbacks"}
    assert (len(reached.arguments["x"]), reached.policy, reached.seeded) == (100, None, False)
    assert list(tmp_path.iterdir()) == [script.path], "what would follow does not happen"
    assert reached.model.optimizer.iterations == 0


def test_a_script_is_main_with_its_own_arguments_and_neighbours(write: Write, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("RATE = 0.5")
    argv, main = sys.argv, sys.modules["__main__"]
    script = write(
        "import neighbour, pickle\n"
        "class Own: pass\n"
        "assert pickle.loads(pickle.dumps(Own())) is not None\n"
        "if __name__ == '__main__' and __file__.endswith('train.py'):\n"
        "    model.fit(x, y, batch_size=int(sys.argv[1]))\n",
        "20",
    )
    assert run_to_fit(script).arguments["batch_size"] == 20
    assert (sys.argv, sys.modules["__main__"]) == (argv, main)


def test_keras_is_as_before_when_a_script_has_ended(write: Write) -> None:
    fit, seed, policy = keras.Model.fit, keras.utils.set_random_seed, keras.config.set_dtype_policy
    run_to_fit(write("model.fit(x, y)"))
    refusal(write("1 / 0"))
    assert keras.Model.fit is fit
    assert (keras.utils.set_random_seed, keras.config.set_dtype_policy) == (seed, policy)


def test_a_script_cannot_catch_its_end(write: Write) -> None:
    code = "try:\n    model.fit(x, y)\nexcept Exception:\n    raise SystemExit('caught')\n"
    assert isinstance(run_to_fit(write(code)), Reached)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "sys.exit('usage: train.py RATE')",
            "train.py exits before it calls fit() (usage: train.py RATE): give it the",
        ),
        ("exit()", "train.py exits before it calls fit() (exit code None): give it the arguments that it needs with"),
        (
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('rate'); p.parse_args()",
            "train.py exits before it calls fit() (",
        ),
        ("int('many')", "train.py raised ValueError before it called fit(): invalid literal"),
        ("open('/absent/data')", "train.py raised FileNotFoundError: [Errno 2] No such file"),
        ("x +", "train.py raised SyntaxError before it called fit(): invalid syntax"),
        (
            "model.evaluate(x, y, verbose=0)",
            "train.py ended without calling fit() on a Keras model: name a script that",
        ),
    ],
)
def test_a_script_that_does_not_get_to_fit_is_one_sentence(code: str, message: str, write: Write) -> None:
    assert refusal(write(code)).startswith(message)


def test_a_script_that_reads_its_standard_input_is_one_sentence(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/null") as nothing:  # noqa: PTH123 - as a worker has it.
        monkeypatch.setattr(sys, "stdin", nothing)
        message = refusal(write("rate = float(input('rate? '))"))
    assert message == "train.py reads from the standard input, where nothing is: have it take arguments."


def test_a_script_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    assert refusal(Script(tmp_path / "absent.py")).startswith(f"There is no file {tmp_path}/absent.py: give the path")


@pytest.mark.parametrize(
    "set_policy", ["keras.mixed_precision.set_global_policy", "keras.config.set_dtype_policy"], ids=["old", "new"]
)
def test_a_policy_that_the_script_sets_gives_way_and_is_told(set_policy: str, write: Write) -> None:
    script = write("model.fit(x, y)", head=f"import keras\n{set_policy}('mixed_float16')\n" + HEAD)
    task = built(script)
    assert task.remarks[1] == "train.py sets the dtype policy mixed_float16, which gives way to each case's own"
    state = ready(script, precision="mixed_bfloat16").state
    assert state.model.layers[0].compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    "seeding", ["keras.utils.set_random_seed(1)", "import tensorflow; tensorflow.random.set_seed(1)"]
)
def test_a_script_that_seeds_itself_is_told(seeding: str, write: Write) -> None:
    task = built(write("model.fit(x, y)", head=f"import keras\n{seeding}\n" + HEAD))
    assert task.remarks[1:] == (
        "train.py seeds its random numbers itself, so its weights begin alike whatever the seed",
    )


def test_weights_of_a_script_vary_with_the_seed(write: Write) -> None:
    script = write("model.fit(x, y)")
    one, again, other = (ready(script, seed=seed).values()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_was_taken_and_what_decides_nothing_is_said_in_one_line(write: Write) -> None:
    (remark,) = built(write("model.run_eagerly = True\nmodel.fit(x, y, epochs=2, callbacks=[])")).remarks
    how, _, what = remark.partition("; it trains ")
    assert re.fullmatch(r"train\.py is run up to its first fit\(\), \d+\.\d s, anew in every process", how)
    taken = "Sequential sequential, mse, SGD, batches of 32 of 100 examples"
    assert what == f"{taken}; callbacks, epochs, run_eagerly decide nothing here"


@pytest.mark.parametrize(
    ("arguments", "training", "validation"),
    [
        ("validation_split=0.2", 80, 20),
        ("validation_data=(x[:30], y[:30])", 100, 30),
        ("validation_split=0.2, validation_data=(x[:30], y[:30])", 100, 30),
        ("batch_size=10", 100, 0),
    ],
)
def test_data_is_split_as_fit_splits_it(arguments: str, training: int, validation: int, write: Write) -> None:
    task = built(write(f"model.fit(x, y, {arguments})"))
    assert task.feed.examples == training
    assert (len(task.test.x) if task.test else 0) == validation
    if "split" in arguments and validation == 20:
        assert task.test is not None
        assert task.test.x[0, 0] == 240.0, "the last of them"


def test_batches_are_the_scripts_own_unless_asked_otherwise(write: Write) -> None:
    assert ready(write("model.fit(x, y)")).batches(1)[0][0].shape == (32, 3)
    script = write("model.fit(x, y, batch_size=25)")
    assert ready(script).batches(1)[0][0].shape == (25, 3)
    assert ready(script, batch_size=10).batches(1)[0][0].shape == (10, 3)


def test_a_model_that_is_not_compiled_is_one_sentence(write: Write) -> None:
    script = write("model = keras.Sequential([keras.layers.Dense(1)])\nmodel.fit(x, y)")
    with pytest.raises(stepbench.StepbenchError, match=r"calls fit\(\) before compile\(\): compile the model\."):
        built(script)
