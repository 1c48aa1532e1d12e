from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import stepbench
from stepbench.training.workload import Dataset, Training, Workload


def nothing(_: stepbench.DataSource) -> stepbench.Built:
    raise AssertionError("Naming builds nothing.")


@pytest.mark.parametrize("name", ["", "a/b", "a,b", "a\nb"])
def test_workload_with_a_name_that_cannot_stand_in_a_case_id_is_refused(name: str) -> None:
    for make in (lambda: Workload(name, list, lambda _: None), lambda: Training(name, nothing)):
        with pytest.raises(stepbench.StepbenchError, match="is no name for a workload"):
            make()


def dataset(inputs: int, targets: int, test_inputs: int = 1, test_targets: int = 1) -> Dataset:
    return Dataset(np.arange(inputs), np.arange(targets), np.arange(test_inputs, dtype=float), np.arange(test_targets))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((3, 2), "The training set has 3 inputs and 2 targets: give as many of each, at least one."),
        ((0, 0), "The training set has 0 inputs and 0 targets: give as many of each, at least one."),
        ((2, 2, 0, 0), "The test set has 0 inputs and 0 targets: give as many of each, at least one."),
        ((2, 2, 1, 4), "The test set has 1 inputs and 4 targets: give as many of each, at least one."),
    ],
)
def test_dataset_that_does_not_fit_together_is_refused(lengths: tuple[int, ...], message: str) -> None:
    with pytest.raises(stepbench.StepbenchError) as caught:
        dataset(*lengths)
    assert str(caught.value) == message


def test_limited_dataset_has_the_first_examples_and_the_whole_test_set() -> None:
    limited = dataset(10, 10, 5, 5).limited(3)
    assert limited.x_train.tolist() == limited.y_train.tolist() == [0, 1, 2]
    assert len(limited.x_test) == len(limited.y_test) == 5
    assert len(dataset(2, 2).limited(3).x_train) == 2


def test_what_users_import_loads_neither_tensorflow_nor_numpy() -> None:
    code = "import stepbench, sys; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_limited_weights_stay_with_their_examples() -> None:
    whole = Dataset({"a": np.arange(4)}, None, np.arange(1), None, sample_weight=np.arange(4.0))
    limited = whole.limited(2)
    assert limited.x_train["a"].tolist() == limited.sample_weight.tolist() == [0, 1]
    with pytest.raises(stepbench.StepbenchError, match="4 inputs and 3 weights"):
        Dataset(np.arange(4), None, np.arange(1), None, sample_weight=np.arange(3))
