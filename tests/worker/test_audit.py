"""Every update of a training: innocent ones are passed, and a fault that begins late or comes rarely is seen then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import forcing
import kinds
import pytest
import tensorflow as tf
from forcing import audited
from keras import optimizers
from marks import few

import stepbench
from stepbench.records.cases import BEGINS_AFTER, EAGER, GRAPH, XLA
from stepbench.training.state import TrainState
from stepbench.worker import audit
from stepbench.worker.audit import UpdateAudit
from stepbench.worker.twin import traced

pytestmark = pytest.mark.tensorflow

STEPS, BEGINS = 24, 9


@pytest.mark.parametrize("optimizer", few("lion", of=kinds.OPTIMIZERS))
def test_an_innocent_training_is_passed_with_every_optimizer(optimizer: str) -> None:
    faults, count = audited(forcing.with_optimizer("dense", optimizer), GRAPH, steps=STEPS)
    assert (faults, count) == ([], STEPS)


ELSEWHERE = [
    ("embedding", XLA, "mixed_bfloat16"),
    ("tied", EAGER, "float32"),
    ("normalised", GRAPH, "mixed_float16"),
    ("unused-head", GRAPH, "mixed_bfloat16"),
    ("constrained", GRAPH, "float32"),
    ("unseeded", GRAPH, "float32"),
    ("two-passes", GRAPH, "mixed_float16"),
    ("adversaries", XLA, "mixed_float16"),
    ("loop", GRAPH, "float32"),
]


@pytest.mark.parametrize(("name", "execution", "precision"), few(("loop", GRAPH, "float32"), of=ELSEWHERE))
def test_an_innocent_training_is_passed_on_every_kind_of_model(name: str, execution: str, precision: str) -> None:
    faults, count = audited(kinds.KINDS[name], execution, precision, steps=STEPS)
    assert faults == []
    assert count >= STEPS


LATE = {
    "planted-momentum-reset": ("dense", "embedding", "two-passes"),
    "planted-flipped-sign": ("embedding", "dense", "two-passes", "unused-head"),
    "planted-late": ("unused-head", "two-passes"),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes late or rarely comes within a few steps."""
    for name in BEGINS_AFTER:
        monkeypatch.setitem(BEGINS_AFTER, name, BEGINS)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("bug", "name"),
    few(
        *(("planted-momentum-reset", "dense"), ("planted-flipped-sign", "embedding")),
        of=[(bug, name) for bug, names in LATE.items() for name in names],
    ),
)
def test_a_fault_is_seen_when_it_comes(bug: str, name: str) -> None:
    faults, _ = audited(kinds.KINDS[name], bug, steps=BEGINS + 3)
    assert faults[0].step == BEGINS - (bug != "planted-late")
    wanted = "was given" if bug == "planted-flipped-sign" else "makes of its gradient"
    assert wanted in faults[0].what


@stepbench.variant("off-by-one")
def off_by_one(state: TrainState) -> Any:
    """The schedule of the learning rate one step late."""
    optimizer = state.optimizer
    schedule = optimizer._learning_rate

    class Later(optimizers.schedules.LearningRateSchedule):  # type: ignore[misc] # Keras has no types.
        def __call__(self, step: Any) -> Any:
            return schedule(tf.maximum(tf.cast(step, tf.int64) - 1, 0))

    optimizer._learning_rate = Later()
    return tf.function(lambda *parts: state.step(parts), autograph=False)


def test_a_schedule_that_is_off_by_one_is_seen_at_its_first_stair() -> None:
    workload = forcing.with_optimizer("dense", "schedule")
    assert audited(workload, GRAPH, steps=14)[0] == []
    faults, _ = audited(workload, "off-by-one", steps=14)
    assert [fault.step for fault in faults] == [10]


class Halving(kinds.Sharpness):
    """A step that makes something else of its gradients from the start, as it may."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply([0.5 * gradient for gradient in gradients], self.trainable_variables)
        for weight in self.trainable_variables:
            weight.assign(0.999 * weight)
        return {"loss": loss}


def test_what_a_users_own_step_always_does_to_gradients_and_weights_is_its_own_affair() -> None:
    workload = kinds.kind("halving", Halving)
    assert audited(workload, GRAPH, steps=12)[0] == []


def test_the_audit_of_a_second_training_begins_anew() -> None:
    with forcing.own_tapes():
        mine = forcing.observed(kinds.KINDS["dense"], GRAPH)
        audit = UpdateAudit(mine.step, mine.twin)
        start = mine.step.snapshot()
        for _ in range(2):
            mine.step.force(start)
            audit.begin()
            for number, batch in enumerate(mine.batches(8)):
                audit.before()
                mine.step.call(batch)
                audit.after(number)
            assert (audit.faults, audit.audited) == ([], 8)


@pytest.fixture
def in_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is compiled by XLA."""
    monkeypatch.setattr("stepbench.worker.audit.COMPILATION_S", 0.0)


@pytest.mark.usefixtures("in_xla", "soon")
@pytest.mark.parametrize("name", few("dense", of=["dense", "embedding", "two-passes"]))
def test_updates_are_audited_in_xla_alike(name: str) -> None:
    assert audited(kinds.KINDS[name], GRAPH, steps=BEGINS + 3)[0] == []
    faults, _ = audited(kinds.KINDS[name], "planted-flipped-sign", steps=BEGINS + 3)
    assert faults[0].step == BEGINS - 1


def test_a_check_is_compiled_once_graphs_have_taken_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    value = tf.Variable(1.0)

    def check() -> tuple[tf.Tensor, tf.Tensor]:
        nonlocal made
        made += 1
        return value + 0.0, value + 1.0

    times = iter([0.0, 0.2, 1.0, 1.2, 9.0])
    monkeypatch.setattr("stepbench.worker.audit.time", SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr("stepbench.worker.audit.COMPILATION_S", 0.15)
    run = audit._compiled(check, traced(check), 2)
    traces = []
    for _ in range(4):
        assert [float(one) for one in run()] == [1.0, 2.0]
        traces.append(made)
    assert traces == [1, 1, 2, 2]
    assert list(times) == [9.0], "what is compiled is not timed"


class Branching(optimizers.SGD):  # type: ignore[misc] # Keras has no types.
    """Does what no graph can."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        assert float(tf.norm(gradient)) >= 0
        super().update_step(gradient, variable, learning_rate)


@pytest.mark.usefixtures("in_xla")
def test_an_optimizer_that_has_no_graph_is_audited_eagerly() -> None:
    workload = kinds.kind("branching", kinds.dense_model, lambda: Branching(0.05))
    assert audited(workload, EAGER, steps=8) == ([], 8)


class Printing(optimizers.SGD):  # type: ignore[misc] # Keras has no types.
    """Does what XLA cannot compile."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        held = tf.py_function(lambda value: value, [gradient], gradient.dtype)
        super().update_step(tf.reshape(held, gradient.shape), variable, learning_rate)


@pytest.mark.usefixtures("in_xla")
def test_an_optimizer_that_xla_cannot_compile_is_audited_without() -> None:
    workload = kinds.kind("printing", kinds.dense_model, lambda: Printing(0.05))
    assert audited(workload, GRAPH, steps=12) == ([], 12)
