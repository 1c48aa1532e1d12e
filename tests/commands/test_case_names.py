from __future__ import annotations

import itertools

import pytest
from builders import ODD_NAMES, make_case

from stepbench.commands.case_names import choose_case, choose_pair, matching
from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Device, Precision

DEFAULT = [
    make_case(execution, precision) for execution, precision in itertools.product((EAGER, GRAPH, XLA), Precision)
]
WIDE = [
    *DEFAULT,
    *(make_case(execution, batch_size=8) for execution in (GRAPH, XLA)),
    *(make_case(execution, steps_per_call=8) for execution in (GRAPH, XLA)),
    make_case(GRAPH, device=Device.GPU),
    make_case("mine", workload="mlp"),
]


def chosen(a: str, b: str, cases: list[Case], *, distinct: bool = True) -> tuple[str, str]:
    one, other = choose_pair(a, b, cases, cases, distinct=distinct)
    return one.id, other.id


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("xla", [f"cnn/xla/{precision}/cpu/b64" for precision in Precision]),
        ("xla/float32", ["cnn/xla/float32/cpu/b64"]),
        ("float32/xla", ["cnn/xla/float32/cpu/b64"]),
        ("cnn/eager/mixed_bfloat16/cpu/b64", ["cnn/eager/mixed_bfloat16/cpu/b64"]),
        ("b64/eager/float32", ["cnn/eager/float32/cpu/b64"]),
        ("float", []),
        ("xl", []),
        ("", []),
        ("/", []),
        ("xla/nonsense", []),
        ("eager/xla", []),
    ],
)
def test_a_name_is_an_id_or_whole_parts_of_one_in_any_order(name: str, ids: list[str]) -> None:
    assert [case.id for case in matching(name, DEFAULT)] == ids


@pytest.mark.parametrize("case", WIDE, ids=str)
def test_an_id_names_its_case_alone(case: Case) -> None:
    assert matching(case.id, WIDE) == [case]
    for other in WIDE:
        assert choose_pair(case.id, other.id, WIDE, WIDE, distinct=False) == (case, other)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_can_be_named(name: str) -> None:
    case = make_case(name)
    assert matching(name, [*DEFAULT, case]) == [case]


@pytest.mark.parametrize(
    ("a", "b", "pair"),
    [
        ("eager", "graph", ("cnn/eager/float32/cpu/b64", "cnn/graph/float32/cpu/b64")),
        ("graph", "eager", ("cnn/graph/float32/cpu/b64", "cnn/eager/float32/cpu/b64")),
        ("graph", "xla", ("cnn/graph/float32/cpu/b64", "cnn/xla/float32/cpu/b64")),
        ("float32", "mixed_bfloat16", ("cnn/graph/float32/cpu/b64", "cnn/graph/mixed_bfloat16/cpu/b64")),
        ("eager", "mixed_float16", ("cnn/eager/float32/cpu/b64", "cnn/eager/mixed_float16/cpu/b64")),
        ("xla/mixed_float16", "graph", ("cnn/xla/mixed_float16/cpu/b64", "cnn/graph/mixed_float16/cpu/b64")),
        ("eager/float32", "xla/mixed_float16", ("cnn/eager/float32/cpu/b64", "cnn/xla/mixed_float16/cpu/b64")),
        ("graph", "graph", ("cnn/graph/float32/cpu/b64", "cnn/graph/mixed_bfloat16/cpu/b64")),
    ],
)
def test_the_pair_that_is_meant_differs_in_nothing_else_and_is_the_usual_one(
    a: str, b: str, pair: tuple[str, str]
) -> None:
    assert chosen(a, b, DEFAULT) == pair
    assert chosen(a, b, DEFAULT[::-1]) == pair


@pytest.mark.parametrize(
    ("a", "b", "pair"),
    [
        ("graph", "xla", ("cnn/graph/float32/cpu/b8", "cnn/xla/float32/cpu/b8")),
        ("graph", "xla/b64", ("cnn/graph/float32/cpu/b64", "cnn/xla/float32/cpu/b64")),
        ("graph/float32/cpu", "b8/xla", ("cnn/graph/float32/cpu/b8", "cnn/xla/float32/cpu/b8")),
        ("b8", "b64", ("cnn/graph/float32/cpu/b8", "cnn/graph/float32/cpu/b64")),
        ("graph", "gpu", ("cnn/graph/float32/cpu/b64", "cnn/graph/float32/gpu/b64")),
        ("k1", "k8", ("cnn/graph/float32/cpu/b64", "cnn/graph/float32/cpu/b64/k8")),
        ("graph/k8", "xla", ("cnn/graph/float32/cpu/b64/k8", "cnn/xla/float32/cpu/b64/k8")),
        ("mlp", "graph/float32/b64/cpu", ("mlp/mine/float32/cpu/b64", "cnn/graph/float32/cpu/b64")),
    ],
)
def test_a_pair_shares_batch_size_calls_and_device_where_it_can(a: str, b: str, pair: tuple[str, str]) -> None:
    assert chosen(a, b, WIDE) == pair


def test_an_execution_of_ones_own_comes_after_the_usual_ones() -> None:
    cases = [make_case("mine", "mixed_bfloat16"), make_case("mine"), make_case(KERAS), make_case(EAGER), *DEFAULT[-3:]]
    assert chosen("float32", "mixed_bfloat16", cases) == ("cnn/xla/float32/cpu/b64", "cnn/xla/mixed_bfloat16/cpu/b64")


@pytest.mark.parametrize(("a", "b"), [("nope", "graph"), ("graph", "nope"), ("graph/nope", "xla"), ("", "xla")])
def test_an_unknown_name_is_refused_with_known_ones(a: str, b: str) -> None:
    with pytest.raises(StepbenchError) as refused:
        choose_pair(a, b, DEFAULT, DEFAULT, distinct=True)
    unknown = b if a == "graph" else a
    known = "cnn/eager/float32/cpu/b64, cnn/eager/mixed_bfloat16/cpu/b64, cnn/eager/mixed_float16/cpu/b64"
    assert str(refused.value) == f"There is no traced case {unknown!r}: use an id such as {known}, or a part of one."


def test_one_and_the_same_case_is_refused_of_one_run_and_two_of_two() -> None:
    with pytest.raises(StepbenchError, match="'xla/float32' and 'float32/xla' name one and the same case: name two"):
        choose_pair("xla/float32", "float32/xla", DEFAULT, DEFAULT, distinct=True)
    assert chosen("xla/float32", "xla/float32", DEFAULT, distinct=False) == ("cnn/xla/float32/cpu/b64",) * 2
    assert chosen("graph", "graph", DEFAULT, distinct=False) == ("cnn/graph/float32/cpu/b64",) * 2


def test_each_of_two_runs_has_its_own_cases() -> None:
    mine, theirs = [make_case(GRAPH), make_case(XLA)], [make_case(XLA, "mixed_bfloat16"), make_case(EAGER)]
    pair = choose_pair("float32", "xla", mine, theirs, distinct=False)
    assert [case.id for case in pair] == ["cnn/xla/float32/cpu/b64", "cnn/xla/mixed_bfloat16/cpu/b64"]
    with pytest.raises(StepbenchError, match="There is no traced case 'graph': use an id such as cnn/xla/mixed"):
        choose_pair("graph", "graph", mine, theirs, distinct=False)


def test_one_case_is_named_by_its_id_or_by_enough_of_it() -> None:
    assert choose_case("cnn/graph/float32/cpu/b64", WIDE).id == "cnn/graph/float32/cpu/b64"
    assert choose_case("k8/xla", WIDE).id == "cnn/xla/float32/cpu/b64/k8"
    assert choose_case("mlp", WIDE).workload == "mlp"


def test_a_name_of_no_case_or_of_several_is_refused_with_some_that_would_do() -> None:
    with pytest.raises(StepbenchError, match="There is no case 'nope': use an id such as cnn/eager/float32/cpu/b64"):
        choose_case("nope", DEFAULT)
    with pytest.raises(StepbenchError, match="'graph' names 3 cases: use an id such as cnn/graph/float32/cpu/b64, "):
        choose_case("graph", DEFAULT)
