"""How a user brings a way of running a step about: variables of the environment, and lines of Python."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stepbench.errors import StepbenchError
from stepbench.probes.settings import VARIABLES, effect_of
from stepbench.records.cases import BUILT_IN_EXECUTIONS, EAGER, XLA, Case
from stepbench.records.settings import OFF, PROCESSORS, TF32, Setting

LOOPED = """\
@tf.function(jit_compile={jit_compile})
def train_steps(batches):  # {steps} of them, stacked
    loss = 0.0
    for index in tf.range({steps}):
        loss = train_step(*tf.nest.map_structure(lambda part: part[index], batches))
    return loss"""


class Applied(msgspec.Struct, frozen=True):
    """What to set and to write, so that training runs that way."""

    env: dict[str, str]
    """Before Python is started."""
    python: str
    """Lines to paste, with where they go; empty where there is nothing to change."""


def applied(case: Case, default: Case, *, is_compiled: bool) -> Applied:
    """What to change to have ``case`` where one has ``default``.

    Args:
        case: what is wanted.
        default: what there is.
        is_compiled: whether ``fit`` runs the step of a compiled model; else a loop of the user's own does.
    """
    environment = {name: value for setting in case.settings for name, value in _variables(setting).items()}
    return Applied(environment, "\n".join(_lines(case, default, is_compiled=is_compiled)))


def _variables(setting: Setting) -> dict[str, str]:
    try:
        return dict(effect_of([setting]).environment)
    except StepbenchError:  # The race was held on another machine.
        return {VARIABLES[setting.name]: f"the library of {setting.value}"} if setting.name in VARIABLES else {}


def _lines(case: Case, default: Case, *, is_compiled: bool) -> Iterator[str]:
    for setting in case.settings:
        yield from _first_lines(setting)
    if case.variant.precision != default.variant.precision:
        yield f'keras.config.set_dtype_policy("{case.variant.precision}")  # before the model is built'
    if case.variant.execution not in BUILT_IN_EXECUTIONS:
        yield f"# the step of the variant {case.variant.execution} in place of the one there is"
    elif is_compiled:
        if compiling := ", ".join(_compiling(case, default)):
            yield f"model.compile(..., {compiling})  # beside what it takes now"
    else:
        yield from _wrapping(case, default)
    if case.batch_size != default.batch_size:
        yield f"batch_size = {case.batch_size}"


def _first_lines(setting: Setting) -> Iterator[str]:
    if setting.name == PROCESSORS:
        try:
            chosen = ", ".join(map(str, sorted(effect_of([setting]).processors or ())))
        except StepbenchError:
            chosen = "..."
        yield f"os.sched_setaffinity(0, {{{chosen}}})  # before TensorFlow is imported"
    elif setting.name == TF32 and setting.value == OFF:
        yield "tf.config.experimental.enable_tensor_float_32_execution(False)"


def _compiling(case: Case, default: Case) -> Iterator[str]:
    mine, theirs = case.variant.execution, default.variant.execution
    if mine == EAGER != theirs:
        yield "run_eagerly=True"
    elif mine != theirs:
        yield f"jit_compile={mine == XLA}"
        if theirs == EAGER:
            yield "run_eagerly=False"
    if case.steps_per_call != default.steps_per_call:
        yield f"steps_per_execution={case.steps_per_call}"


def _wrapping(case: Case, default: Case) -> Iterator[str]:
    mine = case.variant.execution
    if case.steps_per_call > 1:
        yield LOOPED.format(jit_compile=mine == XLA, steps=case.steps_per_call)
    elif mine == EAGER != default.variant.execution:
        yield "# train_step as a plain function, without tf.function"
    elif mine != default.variant.execution:
        yield f"train_step = tf.function(train_step, jit_compile={mine == XLA})"
