"""What a gate finds beside a slower usual step, planted in head; and the innocent, which pass."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from builders import MEBIBYTE
from paired import FACTS, STEP_S, make_broken, make_gate_case, make_quads, noisy_pairs

from stepbench.judge.gate import LOOKS, CaseJudgement, GateVerdict, is_decided, is_slower, judge_case
from stepbench.records.gate import GateSettings, Pair, Quad

SETTINGS = GateSettings()


def judged(*pairs: Pair) -> CaseJudgement:
    return judge_case(make_gate_case(*pairs), SETTINGS)


def with_head(count: int = 5, slowdown: float = 0.0, **facts: Any) -> tuple[Pair, ...]:
    return noisy_pairs(slowdown, count, head=msgspec.structs.replace(FACTS, **facts))


def with_both(fact: str, base: float, head: float) -> tuple[Pair, ...]:
    first, second = (msgspec.structs.replace(FACTS, **{fact: value}) for value in (base, head))
    return noisy_pairs(base=first, head=second)


def rarely_slow(count: int, times: float, base_too: bool = False) -> tuple[Pair, ...]:  # noqa: FBT001, FBT002
    """One quad of each pair takes much longer; the usual step is the same."""
    slow = STEP_S * times
    rare = Quad((slow, slow) if base_too else (STEP_S, STEP_S), (slow, slow))
    pairs = noisy_pairs(count=count)
    return tuple(msgspec.structs.replace(pair, quads=(*pair.quads[1:], rare)) for pair in pairs)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "memory": ({"peak_memory_bytes": 150 * MEBIBYTE}, "the peak of memory is 1.50× as high"),
    "first call": ({"first_call_s": 1.5}, "the first call takes 1.50× as long"),
}


@pytest.mark.parametrize(("facts", "words"), FAULTS.values(), ids=FAULTS)
def test_growth_is_a_regression_once_two_looks_show_it(facts: dict[str, Any], words: str) -> None:
    found = judged(*with_head(**facts))
    assert (found.verdict, found.why) == (GateVerdict.REGRESSION, (words,))


@pytest.mark.parametrize(("facts", "words"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("slowdown", [0.0, -0.2])
def test_growth_at_the_first_look_keeps_a_quiet_step_from_passing(
    facts: dict[str, Any], words: str, slowdown: float
) -> None:
    pairs = with_head(LOOKS[0], slowdown, **facts)
    found = judged(*pairs)
    assert not is_decided(make_gate_case(*pairs), SETTINGS)
    assert found.verdict is GateVerdict.INCONCLUSIVE
    if not slowdown:
        assert found.why == (f"{words}, which one more pair has to show again: raise --budget",)


def test_growth_that_one_more_pair_does_not_show_passes() -> None:
    pairs = with_head(LOOKS[0], peak_memory_bytes=150 * MEBIBYTE)
    assert judged(*pairs, *noisy_pairs(count=5)[4:]).verdict is GateVerdict.PASS


INNOCENT: dict[str, tuple[Pair, ...]] = {
    "the same": noisy_pairs(),
    "less memory": with_head(peak_memory_bytes=50 * MEBIBYTE),
    "a large share of little memory": with_both("peak_memory_bytes", 10 * MEBIBYTE, 20 * MEBIBYTE),
    "much memory, but a small share": with_both("peak_memory_bytes", 1000 * MEBIBYTE, 1050 * MEBIBYTE),
    "a large share of a short first call": with_both("first_call_s", 0.1, 0.2),
    "a long first call, longer by a small share": with_both("first_call_s", 20.0, 21.0),
    "memory unknown": with_both("peak_memory_bytes", 0, FACTS.peak_memory_bytes),
    "fewer traces": with_head(functions_traced=0),
    "one pair traced again": (*with_head(1, functions_traced=2), *noisy_pairs()[1:]),
    "rare slow steps of both": rarely_slow(5, 50, base_too=True),
    "a rare step that is hardly slower": rarely_slow(5, 1.2),
}


@pytest.mark.parametrize("pairs", INNOCENT.values(), ids=INNOCENT)
def test_the_innocent_pass(pairs: tuple[Pair, ...]) -> None:
    assert (judged(*pairs).verdict, judged(*pairs).why) == (GateVerdict.PASS, ())


def test_a_step_that_is_traced_more_often_is_a_regression_at_the_first_look() -> None:
    found = judged(*with_head(LOOKS[0], functions_traced=3))
    assert (found.verdict, found.why) == (GateVerdict.REGRESSION, ("the step is traced 3 times, not 1",))


def test_rare_slow_steps_that_only_the_total_shows_are_a_regression() -> None:
    found = judged(*rarely_slow(5, 50))
    assert found.ratio
    assert found.ratio.value == pytest.approx(1.0, abs=0.01)
    assert found.verdict is GateVerdict.REGRESSION
    (why,) = found.why
    assert why.startswith("all steps together take 3.0")
    assert judged(*rarely_slow(LOOKS[0], 50)).verdict is GateVerdict.INCONCLUSIVE


def test_only_a_regression_of_the_steps_can_be_told_from_traces() -> None:
    slower = {"usual": noisy_pairs(0.1), "rare": rarely_slow(5, 50)}
    other = {
        "memory": with_head(peak_memory_bytes=150 * MEBIBYTE),
        "the first call": with_head(first_call_s=1.5),
        "undecided": noisy_pairs(0.1, LOOKS[0]),
        "the same": noisy_pairs(),
        "faster": noisy_pairs(-0.1),
    }
    for pairs in slower.values():
        assert is_slower(make_gate_case(*pairs), SETTINGS)
    for pairs in other.values():
        assert not is_slower(make_gate_case(*pairs), SETTINGS)
    assert not is_slower(make_broken(), SETTINGS)


def test_a_slower_step_names_what_else_is_worse() -> None:
    facts = msgspec.structs.replace(FACTS, functions_traced=2, peak_memory_bytes=300 * MEBIBYTE, first_call_s=3.0)
    pairs = tuple(Pair(number, make_quads(math.log(1.5)), FACTS, facts, 12.0) for number in range(5))
    found = judged(*pairs)
    assert found.verdict is GateVerdict.REGRESSION
    assert [why.split(" ")[1] for why in found.why] == ["step", "peak", "first"]
