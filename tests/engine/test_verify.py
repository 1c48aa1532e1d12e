"""The verification's inner parts on real models, in this process."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import keras
import msgspec
import numpy as np
import places
import pytest
import tensorflow as tf

import stepbench
import stepbench.training.planted  # The bugs that are planted here.
from stepbench.errors import StepbenchError
from stepbench.judge.one_step import agrees, complaints
from stepbench.records.cases import BUGS, EAGER, GRAPH, INNOCENT, KERAS, XLA, Case, Device, Precision, Variant
from stepbench.records.protocol import Train, Trained
from stepbench.records.verify import Agreement
from stepbench.training.devices import use_device
from stepbench.training.step import TrainState, build_state, train_step
from stepbench.training.workload import Dataset, DataSource, Workload, import_user_module, load_workload
from stepbench.worker.gradients import GradientRecorder
from stepbench.worker.one_step import VariantStep
from stepbench.worker.reference_step import Array, ReferenceStep, relative_error
from stepbench.worker.trajectory import Trajectory, batch_at, make_trajectory
from stepbench.worker.verify import Verifier

pytestmark = pytest.mark.tensorflow

use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

EXAMPLES = places.EXAMPLES
TINY = load_workload(f"{places.TINY}:workload")
TABULAR = load_workload(f"{EXAMPLES}/tabular.py:workload")
import_user_module(f"{EXAMPLES}/hand_written_step.py")

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

BATCH = 32
FEATURES, CLASSES = 8, 3
POINTS = (0, 1, 3, 10, 30)
SOURCE = DataSource("synthetic", limit=(max(POINTS) + 1) * BATCH)


def plain_model() -> keras.Model:
    """Like the tiny one, which keeps the weights of its last layer in float32 whatever happens."""
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Activation("linear", dtype="float32")])


def noisy_model() -> keras.Model:
    layers = [keras.layers.GaussianNoise(0.5), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Activation("linear", dtype="float32")])


PLAIN = dataclasses.replace(TINY, name="plain", model=plain_model)
NOISY = dataclasses.replace(TINY, name="noisy", model=noisy_model)
WORKLOADS = {"plain": PLAIN, "tiny": TINY, "tabular": TABULAR, "noisy": NOISY}


@functools.cache
def dataset_of(name: str) -> Dataset:
    dataset: Dataset = WORKLOADS[name].data(SOURCE)
    return dataset


@functools.cache
def trajectory_of(name: str) -> Trajectory:
    return make_trajectory(WORKLOADS[name], dataset_of(name), BATCH, 0, POINTS)


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder watches every tape of its process, which in a worker is the case's own."""
    monkeypatch.setattr(tf.GradientTape, "gradient", tf.GradientTape.gradient)
    monkeypatch.setattr(keras.config, "set_floatx", keras.config.set_floatx)


def make_case(execution: str, precision: Precision, name: str = "plain") -> Case:
    return Case(name, Variant(execution, precision), Device.CPU, BATCH)


def agreement_of(execution: str, precision: Precision, name: str = "plain") -> Agreement:
    variant = VariantStep(make_case(execution, precision, name), WORKLOADS[name], dataset_of(name), seed=0)
    return variant.agree(trajectory_of(name))


def test_the_reference_of_a_plain_model_is_float64() -> None:
    trajectory = trajectory_of("plain")
    assert trajectory.reference == "float64"
    assert [target.step for target in trajectory.targets] == list(POINTS)
    for target in trajectory.targets:
        gradients = target.right().gradients
        assert [gradient.shape for gradient in gradients] == [(8, 16), (16,), (16, 3), (3,)]
        # They are not float32 numbers in a wide dress.
        assert any(np.any(gradient != gradient.astype(np.float32)) for gradient in gradients)


def test_the_trajectory_is_a_training() -> None:
    first, *_, last = trajectory_of("plain").targets
    assert last.right().loss < 0.9 * first.right().loss
    assert not np.array_equal(first.model[0], last.model[0])
    assert int(last.optimizer[0]) == POINTS[-1]


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_trajectory_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    trajectory = trajectory_of(name)
    trajectory.save(tmp_path / "trajectory.npz")
    read = Trajectory.load(tmp_path / "trajectory.npz")
    assert read.reference == trajectory.reference
    for mine, its in zip(trajectory.targets, read.targets, strict=True):
        assert (mine.step, mine.right().loss) == (its.step, its.right().loss)
        assert mine.yardsticks.keys() == its.yardsticks.keys()
        pairs = [
            (mine.model, its.model),
            (mine.optimizer, its.optimizer),
            (mine.right().gradients, its.right().gradients),
            (mine.right().statistics, its.right().statistics),
            (list(mine.yardsticks.values()), list(its.yardsticks.values())),
        ]
        for ours, theirs in pairs:
            for one, other in zip(ours, theirs, strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


def test_a_model_with_noise_is_compared_with_float32_as_it_draws_other_numbers_in_float64() -> None:
    assert trajectory_of("noisy").reference == "float32"


def test_moving_averages_are_compared_too() -> None:
    trajectory = trajectory_of("tabular")
    # Mean and variance of the batch normalisation.
    assert [value.shape for value in trajectory.targets[0].right().statistics] == [(64,), (64,)]


@keras.saving.register_keras_serializable("stepbench-tests")
class Narrow(keras.layers.Layer):  # type: ignore[misc] # Keras is untyped.
    """Multiplies by a constant that it keeps in float32, whatever its policy."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.constant(2.0, tf.float32)


def narrow_model() -> keras.Model:
    layers = [keras.Input((FEATURES,)), keras.layers.Dense(16), Narrow(), keras.layers.Dense(CLASSES)]
    return keras.Sequential(layers)


def unbuildable_in_float64() -> keras.Model:
    if keras.config.floatx() == "float64":
        raise ValueError("There is no float64 here.")
    return narrow_model()


class NarrowSubclass(keras.Model):  # type: ignore[misc] # Keras is untyped.
    """A model that fixes a dtype where only running it in float64 shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Dense(16)
        self.last = keras.layers.Dense(CLASSES)
        self.build((None, FEATURES))

    def build(self, shape: tuple[int | None, int]) -> None:
        self.first.build(shape)
        self.last.build((None, 16))
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.last(self.first(inputs) * tf.constant(2.0, tf.float32))


@pytest.mark.parametrize("model", [narrow_model, unbuildable_in_float64, NarrowSubclass])
def test_a_model_that_cannot_be_float64_is_compared_with_float32(model: Callable[[], keras.Model]) -> None:
    workload = dataclasses.replace(PLAIN, model=model)
    trajectory = make_trajectory(workload, dataset_of("plain"), BATCH, 0, (0, 3))
    assert trajectory.reference == "float32"
    assert keras.config.floatx() == "float32"
    step = VariantStep(make_case(GRAPH, Precision.FLOAT32), workload, dataset_of("plain"), seed=0)
    assert agrees(step.agree(trajectory))


def test_a_training_that_diverges_has_no_trajectory() -> None:
    workload = dataclasses.replace(PLAIN, optimizer=lambda: keras.optimizers.SGD(1e30))
    with pytest.raises(StepbenchError, match="NaN or infinite after 3 steps"):
        make_trajectory(workload, dataset_of("plain"), BATCH, 0, (0, 3))


def test_reference_gradients_are_the_slopes_of_the_loss() -> None:
    target = trajectory_of("plain").targets[2]
    reference = ReferenceStep(PLAIN, seed=0)
    batch = batch_at(dataset_of("plain"), target.step, BATCH)
    size = 1e-5
    for index, gradient in enumerate(target.right().gradients):
        steepest = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
        losses = []
        for sign in (-1, 1):
            moved = [value.astype(np.float64) for value in target.model]
            moved[index][steepest] += sign * size
            losses.append(reference.run(moved, batch).loss)
        assert (losses[1] - losses[0]) / (2 * size) == pytest.approx(gradient[steepest], rel=1e-5)


def test_yardsticks_grow_with_the_roundoff_of_the_precision() -> None:
    for target in trajectory_of("plain").targets:
        float32, bfloat16, float16 = (
            target.yardsticks[precision]
            for precision in (Precision.FLOAT32, Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16)
        )
        gradients = slice(1, 1 + len(target.right().gradients))
        assert np.all(float32[gradients] < float16[gradients])
        assert np.all(float16[gradients] < bfloat16[gradients])
        # In proportion to 2^-24, 2^-11 and 2^-8, but that a unit's kink counts when it is passed.
        assert 8 / 4 < np.median(bfloat16[gradients] / float16[gradients]) < 8 * 4
        assert np.median(float32[gradients]) < 1e-5
        assert 1e-4 < np.median(bfloat16[gradients]) < 0.2


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("execution", [EAGER, GRAPH, XLA, KERAS, INNOCENT, "raw-adam"])
def test_honest_variants_agree(execution: str, precision: Precision) -> None:
    agreement = agreement_of(execution, precision)
    assert complaints(agreement) == ()
    assert agrees(agreement)
    assert [len(point.gradients) for point in agreement.points] == [4] * len(POINTS)
    assert all(point.updates and point.slots for point in agreement.points)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED_BFLOAT16])
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug not in ("planted-late", "planted-inference-mode")])
def test_planted_bugs_are_complained_of(bug: str, precision: Precision) -> None:
    assert complaints(agreement_of(bug, precision))


def test_inference_mode_is_complained_of_where_it_makes_a_difference() -> None:
    assert complaints(agreement_of("planted-inference-mode", Precision.FLOAT32, "tabular"))
    with pytest.raises(StepbenchError, match="does the same in training and inference"):
        agreement_of("planted-inference-mode", Precision.FLOAT32)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("execution", [EAGER, GRAPH, XLA])
def test_the_reference_drops_the_units_that_a_variant_drops(execution: str, precision: Precision) -> None:
    agreement = agreement_of(execution, precision, "tabular")
    assert agreement.reference == "float64"
    assert agrees(agreement)


@pytest.mark.parametrize("bug", ["planted-doubled-bias", "planted-stale-gradient", "planted-clipping"])
def test_bugs_in_a_step_with_dropout_are_complained_of_in_half_precision(bug: str) -> None:
    assert complaints(agreement_of(bug, Precision.MIXED_BFLOAT16, "tabular"))


def test_a_step_that_drops_other_units_is_complained_of() -> None:
    mine, other = trajectory_of("tabular").targets[0].right(), trajectory_of("tabular").targets[0].right("bfloat16")
    assert relative_error(mine.gradients[0], other.gradients[0]) > 0.1


def test_noise_in_bfloat16_is_that_of_float32_and_comparable() -> None:
    assert agrees(agreement_of(GRAPH, Precision.MIXED_BFLOAT16, "noisy"))


@pytest.mark.parametrize("precision", Precision)
def test_a_last_layer_with_weights_in_float32_leaves_the_reference_in_float64(precision: Precision) -> None:
    agreement = agreement_of(GRAPH, precision, "tiny")
    assert agreement.reference == "float64"
    assert agrees(agreement)


def test_a_bug_that_is_not_in_the_single_step_is_for_the_trainings_to_find() -> None:
    assert complaints(agreement_of("planted-late", Precision.FLOAT32)) == ()


def test_a_wrong_learning_rate_is_named_with_its_factor() -> None:
    sentence, *_ = complaints(agreement_of("planted-learning-rate", Precision.FLOAT32))
    assert sentence.startswith("update of ")
    assert "is 1.020× as long as it should be at all points" in sentence


def test_two_agreements_of_one_variant_end_with_the_same_bits() -> None:
    one, other = (agreement_of(GRAPH, Precision.FLOAT32) for _ in range(2))
    assert [point.digest for point in one.points] == [point.digest for point in other.points]


def test_noise_in_xla_is_not_comparable_says_so_and_survives_the_journal() -> None:
    graph, xla = (agreement_of(execution, Precision.FLOAT32, "noisy") for execution in (GRAPH, XLA))
    assert agrees(graph)
    assert xla.not_comparable == "the model's random layers draw other numbers under float32 in XLA"
    assert not agrees(xla)
    assert complaints(xla) == ()
    # Its optimizer is watched all the same.
    assert all(point.updates and not point.gradients for point in xla.points)
    assert msgspec.json.decode(msgspec.json.encode(xla), type=Agreement) == xla


@stepbench.variant("tests-nan-gradient")
def nan_gradient(state: TrainState) -> Step:
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return train_step(state, x * float("nan"), y)

    return step


def test_a_step_that_gives_nan_is_complained_of_and_survives_the_journal() -> None:
    agreement = agreement_of("tests-nan-gradient", Precision.FLOAT32)
    assert "is NaN or infinite in the step after step 0" in complaints(agreement)[0]
    assert msgspec.json.decode(msgspec.json.encode(agreement), type=Agreement) == agreement


@stepbench.variant("tests-poisoned")
def poisoned(state: TrainState) -> Step:
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        loss = train_step(state, x, y)
        state.model.trainable_variables[-1].assign([float("nan")] * CLASSES)
        return loss

    return step


def test_an_evaluation_that_gives_nan_survives_the_journal() -> None:
    case = msgspec.structs.replace(make_case("tests-poisoned", Precision.FLOAT32, "tiny"), workload="tiny")
    order = Train(case, f"{places.TINY}:workload", (), "synthetic", 0, steps=1, tests=(1,))
    trained = Verifier(order).train(order)
    assert msgspec.json.decode(msgspec.json.encode(trained), type=Trained) == trained
    assert trained.curve.losses[0] is not None
    assert [(test.step, test.loss) for test in trained.curve.tests] == [(1, None)]


def seen(execution: str, precision: Precision) -> tuple[VariantStep, list[Array]]:
    variant = VariantStep(make_case(execution, precision), PLAIN, dataset_of("plain"), seed=0)
    variant.force(trajectory_of("plain").targets[0])
    variant._recorder.begin()
    variant.step(*batch_at(dataset_of("plain"), 0, BATCH))
    gradients = variant._recorder.gradients()
    assert gradients is not None
    return variant, gradients


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED_FLOAT16])
@pytest.mark.parametrize("execution", [EAGER, "raw-adam"])
def test_gradients_are_seen_without_their_loss_scale(execution: str, precision: Precision) -> None:
    variant, gradients = seen(execution, precision)
    scaled = isinstance(variant.state.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision is Precision.MIXED_FLOAT16)
    tolerance = 0.02 if scaled else 1e-5
    for gradient, right in zip(gradients, trajectory_of("plain").targets[0].right().gradients, strict=True):
        assert np.linalg.norm(gradient - right) < tolerance * np.linalg.norm(right)


def test_a_recorder_forgets_the_step_before() -> None:
    variant, _ = seen(GRAPH, Precision.FLOAT32)
    variant._recorder.begin()
    assert variant._recorder.gradients() is None


def test_a_weight_that_the_optimizer_is_not_given_has_no_gradient() -> None:
    state = build_state(PLAIN, Precision.FLOAT32, seed=0)
    recorder = GradientRecorder(state)
    recorder.begin()
    weights = state.model.trainable_variables
    slots_of_all = [tf.ones(weight.shape) for weight in weights]
    slots_of_all[1] = None
    recorder._record(recorder._applied, slots_of_all[:-1], weights[:-1])
    gradients = recorder.gradients()
    assert gradients is not None
    assert [float(np.max(gradient)) for gradient in gradients] == [1.0, 0.0, 1.0, 0.0]


@stepbench.variant("tests-numerical")
def numerical(state: TrainState) -> Step:
    """Steps down a slope that it finds by trying, without any tape."""
    weight = state.model.trainable_variables[-1]

    def loss_of(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return state.loss(y, state.model(x, training=True))

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        before = loss_of(x, y)
        weight.assign_add(1e-3 * tf.ones(weight.shape))
        after = loss_of(x, y)
        weight.assign_sub(tf.sign(after - before) * 1e-2 * tf.ones(weight.shape))
        return before

    return step


def test_a_step_that_hides_its_gradients_does_not_agree_nor_is_it_blamed() -> None:
    agreement = agreement_of("tests-numerical", Precision.FLOAT32)
    assert not agreement.gradients_seen
    assert complaints(agreement) == ()
    assert not agrees(agreement)
    assert all(point.gradients == point.updates == point.slots == () for point in agreement.points)


def test_a_model_with_other_variables_is_refused() -> None:
    def wider() -> keras.Model:
        return keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, dtype="float32")])

    workload: Workload = dataclasses.replace(PLAIN, model=wider)
    step = VariantStep(make_case(GRAPH, Precision.FLOAT32), workload, dataset_of("plain"), seed=0)
    with pytest.raises(StepbenchError, match="other variables than the reference's"):
        step.agree(trajectory_of("plain"))
