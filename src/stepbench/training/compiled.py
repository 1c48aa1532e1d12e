"""A workload's model, compiled as its author means it: what loss, optimizer and metric are, ``compile`` decides."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Precision
from stepbench.records.protocol import Written
from stepbench.training.workload import Workload

CROSS_ENTROPIES = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)
CROSS_ENTROPY_FUNCTIONS = (keras.losses.sparse_categorical_crossentropy, keras.losses.categorical_crossentropy)


def compiled_model(workload: Workload) -> tuple[keras.Model, tuple[str, ...] | None]:
    """A new model of the workload, compiled, and what the workload puts in place of what it came compiled with.

    None in place of that where it did not come compiled.

    Raises:
        StepbenchError: when ``model()`` gives no ``keras.Model``, or the same one again.
    """
    model = workload.model()
    if not isinstance(model, keras.Model):
        raise StepbenchError(f"The workload's model() gave a {type(model).__name__}: it must give a keras.Model.")
    if getattr(model, "_stepbench_built", False):
        raise StepbenchError(
            "The workload's model() gives the same model again: build it inside the function, so that each call gives "
            "a new one."
        )
    model._stepbench_built = True  # noqa: SLF001 - a mark of ours, on the object itself as ids are reused.
    loss, optimizer, metric = (_given(part) for part in (workload.loss, workload.optimizer, workload.metric))
    was_compiled = bool(model.compiled)
    if not was_compiled:
        loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = optimizer or keras.optimizers.Adam()
        if metric is None and _is_cross_entropy(loss):
            metric = "accuracy"
    elif optimizer is None and getattr(model.optimizer, "built", False):
        optimizer = _fresh(model.optimizer)  # One object for all models serves only the first.
    if loss is not None or optimizer is not None or metric is not None:
        _compile(model, loss, optimizer, metric, was_compiled=was_compiled)
    given = [name for name in ("loss", "optimizer", "metric") if getattr(workload, name) is not None]
    return model, tuple(given) if was_compiled else None


def written(model: keras.Model, policy: str | None = None, training_steps: int | None = None) -> Written:
    """How ``fit`` runs the step of a model as it was compiled.

    Args:
        model: the model.
        policy: the dtype policy that its author set; Keras' usual one if None.
        training_steps: of the training that its author has.
    """
    steps = model.steps_per_execution
    # Keras' own train function takes one batch from us, so of several a call it is the same function, made here.
    compiled = XLA if model.jit_compile is True else KERAS if steps == 1 else GRAPH
    precision = Precision(policy) if policy in tuple(Precision) else Precision.FLOAT32
    return Written(
        EAGER if model.run_eagerly else compiled, precision, 1 if model.run_eagerly else steps, training_steps
    )


def _compile(model: keras.Model, loss: Any, optimizer: Any, metric: Any, *, was_compiled: bool) -> None:
    """Compile what is given; what is None stays as it was compiled."""
    settings: dict[str, Any] = {}
    if was_compiled:
        settings = {"run_eagerly": model.run_eagerly, "steps_per_execution": model.steps_per_execution}
        settings["jit_compile"] = False if model.run_eagerly else model.jit_compile
    metrics = metric if metric is None or isinstance(metric, list | dict) else [metric]
    keras.Model.compile(model, optimizer=optimizer or model.optimizer, loss=loss, metrics=metrics, **settings)


def _is_cross_entropy(loss: Any) -> bool:
    """Whether the accuracy is its usual companion."""
    meant = keras.losses.get(loss) if isinstance(loss, str) else loss  # Names give functions.
    return isinstance(meant, CROSS_ENTROPIES) or meant in CROSS_ENTROPY_FUNCTIONS


def _given(part: Any) -> Any:
    """What a user gave as a loss, an optimizer or a metric, as ``compile`` takes it, and never used before."""
    if inspect.isclass(part):
        return part()
    if isinstance(part, keras.optimizers.Optimizer | keras.metrics.Metric):
        return _fresh(part)
    if isinstance(part, keras.losses.Loss) or not callable(part):
        return part
    return part() if _needs_no_arguments(part) else part


def _fresh(part: Any) -> Any:
    return type(part).from_config(part.get_config())


def _needs_no_arguments(function: Any) -> bool:
    """Whether it is a factory, not a loss or metric function of targets and outputs."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return not any(one.kind in named and one.default is one.empty for one in parameters)
