"""What a user is told to write, by what there is and what is wanted."""

from __future__ import annotations

import pytest
from builders import make_case

from stepbench.records.cases import Case
from stepbench.records.settings import Setting
from stepbench.report.apply import applied

DEFAULT = make_case("keras")


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        (DEFAULT, ""),
        (make_case("graph"), "model.compile(..., jit_compile=False)"),
        (make_case("xla", steps_per_call=20), "model.compile(..., jit_compile=True, steps_per_execution=20)"),
        (make_case("eager"), "model.compile(..., run_eagerly=True)"),
        (make_case("keras", "mixed_bfloat16"), 'keras.config.set_dtype_policy("mixed_bfloat16")'),
        (make_case("keras", batch_size=256), "batch_size = 256"),
        (make_case("mine"), "# the step of the variant mine"),
    ],
)
def test_a_compiled_models_lines(case: Case, lines: str) -> None:
    assert applied(case, DEFAULT, is_compiled=True).python.startswith(lines)
    assert bool(applied(case, DEFAULT, is_compiled=True).python) == bool(lines)


def test_a_loop_of_ones_own_is_wrapped() -> None:
    graph = make_case("graph")
    assert applied(make_case("xla"), graph, is_compiled=False).python == (
        "train_step = tf.function(train_step, jit_compile=True)"
    )
    looped = applied(make_case("graph", steps_per_call=20), graph, is_compiled=False).python
    compile(looped, "pasted", "exec")
    assert "tf.range(20)" in looped


def test_settings_are_variables_and_processors_a_line() -> None:
    settings = tuple(Setting(*one) for one in (("env:A", "b c"), ("intra_threads", "1"), ("processors", "1")))
    found = applied(make_case("keras", settings=settings), DEFAULT, is_compiled=True)
    assert found.env == {"A": "b c", "TF_NUM_INTRAOP_THREADS": "1"}
    assert found.python.startswith("os.sched_setaffinity(0, {")


def test_a_race_of_another_machine_can_be_read_where_its_library_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbench.probes.settings._found", lambda *_: None)
    case = make_case("keras", settings=(Setting("malloc", "jemalloc"), Setting("processors", "999")))
    found = applied(case, DEFAULT, is_compiled=True)
    assert found.env == {"LD_PRELOAD": "the library of jemalloc"}
    assert "{...}" in found.python
