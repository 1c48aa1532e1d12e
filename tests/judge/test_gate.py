from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from builders import make_case
from paired import FACTS, NOISE, STEP_S, make_broken, make_gate, make_gate_case, make_pair, make_pairs, noisy_pairs

from stepbench.errors import StepbenchError
from stepbench.judge.gate import (
    LOOKS,
    Company,
    GateVerdict,
    is_decided,
    judge_case,
    judge_gate,
    judge_steps,
    log_ratio,
    side_step_time,
)
from stepbench.records.gate import GateSettings, Quad, SideName

SETTINGS = GateSettings()


def verdict(*logs: float, settings: GateSettings = SETTINGS, cases: int = 1) -> GateVerdict:
    return judge_case(make_gate_case(*make_pairs(*logs)), settings, Company(cases)).verdict


def test_identical_code_passes_at_the_first_look() -> None:
    judged = judge_case(make_gate_case(*noisy_pairs(count=LOOKS[0])), SETTINGS)
    assert (judged.verdict, judged.why, judged.pairs, judged.seconds) == (GateVerdict.PASS, (), 4, 48.0)
    assert judged.ratio
    assert judged.ratio.low is not None
    assert judged.ratio.high is not None
    assert judged.ratio.low < 1.0 < judged.ratio.high


def imported(base: int | None, head: int | None) -> list[str]:
    """What is said of a gate that passes, where the sides had imported so many of three files that differ."""
    sides = [msgspec.structs.replace(FACTS, changed_imported=count) for count in (base, head)]
    pairs = noisy_pairs(count=LOOKS[0], base=sides[0], head=sides[1])
    (case,) = judge_gate(make_gate(make_gate_case(*pairs), changed=3)).cases
    assert case.verdict is GateVerdict.PASS
    return list(case.why)


def test_a_pass_of_a_change_that_neither_side_imported_says_so() -> None:
    sentence = "neither side imported any of the 3 files that differ: the change was not run, unless the step reads it"
    assert [why[: len(sentence)] for why in imported(0, 0)] == [sentence]
    # What head removed, base imported; what an earlier stepbench does not tell is not held against anyone.
    assert imported(1, 0) == imported(0, 2) == imported(None, 0) == imported(None, None) == []
    facts = msgspec.structs.replace(FACTS, changed_imported=0)
    same = make_gate(make_gate_case(*noisy_pairs(count=LOOKS[0], base=facts, head=facts)))
    assert judge_gate(same).cases[0].why == (), "nothing differs"


@pytest.mark.parametrize("slowdown", [0.05, 0.1, 1.0])
def test_a_slowdown_is_a_regression_only_when_one_more_pair_shows_it_again(slowdown: float) -> None:
    at_first = make_gate_case(*noisy_pairs(slowdown, LOOKS[0]))
    assert judge_case(at_first, SETTINGS).verdict is GateVerdict.INCONCLUSIVE
    assert not is_decided(at_first, SETTINGS)
    again = make_gate_case(*noisy_pairs(slowdown, LOOKS[0] + 1))
    assert judge_case(again, SETTINGS).verdict is GateVerdict.REGRESSION
    assert is_decided(again, SETTINGS)
    refuted = make_gate_case(*noisy_pairs(slowdown, LOOKS[0]), make_pair(-math.log1p(slowdown)))
    assert judge_case(refuted, SETTINGS).verdict is GateVerdict.INCONCLUSIVE


def test_the_threshold_itself_is_a_regression_and_neither_less_is_nor_what_is_not_proved() -> None:
    at, below = math.log1p(0.02) + 1e-12, math.log1p(0.0199)
    assert verdict(*[at] * 5) is GateVerdict.REGRESSION
    assert verdict(*[below] * 5) is GateVerdict.PASS
    assert verdict(0.0, 0.06, -0.02, 0.09, 0.05) is GateVerdict.INCONCLUSIVE


def test_a_gate_goes_on_where_a_speedup_is_likely_but_not_proved_and_passes_when_the_time_is_up() -> None:
    likely = make_gate_case(*make_pairs(-0.05, -0.02, -0.09, -0.03))
    assert judge_case(likely, SETTINGS).verdict is GateVerdict.PASS
    assert not is_decided(likely, SETTINGS)
    unlikely = make_gate_case(*make_pairs(-0.01, 0.0, -0.01, 0.0))
    assert is_decided(unlikely, SETTINGS)


def test_noise_that_hides_the_threshold_is_inconclusive_and_says_so() -> None:
    judged = judge_case(make_gate_case(*make_pairs(*(20 * noise for noise in NOISE))), SETTINGS)
    assert judged.verdict is GateVerdict.INCONCLUSIVE
    assert judged.why == ("neither a slowdown nor its absence is proved: raise --budget or --threshold",)
    spent = judge_case(make_gate_case(*make_pairs(*(20 * noise for noise in 2 * NOISE))), SETTINGS)
    assert spent.why == ("neither a slowdown nor its absence is proved: raise --threshold, or quiet the machine",)


@pytest.mark.parametrize(("count", "words"), [(0, "0 pairs are"), (1, "1 pair is"), (3, "3 pairs are")])
def test_too_few_pairs_are_inconclusive_however_clear(count: int, words: str) -> None:
    judged = judge_case(make_gate_case(*make_pairs(*[1.0] * count)), SETTINGS)
    assert judged.verdict is GateVerdict.INCONCLUSIVE
    assert judged.why == (f"{words} too few to judge: raise --budget",)
    assert judged.smallest_detectable is None
    assert (judged.ratio is None) == (count == 0)


@pytest.mark.parametrize("side", SideName)
def test_a_side_that_fails_is_broken_with_its_reason_and_decided(side: SideName) -> None:
    judged = judge_case(make_broken(side, "planted"), SETTINGS)
    assert (judged.verdict, judged.why) == (GateVerdict.BROKEN, (f"{side} fails: error: planted",))
    assert is_decided(make_broken(side), SETTINGS)


def test_one_hiccup_among_the_blocks_of_a_pair_moves_its_ratio_little() -> None:
    pair = make_pair()
    hiccup = (*pair.quads[1:], Quad((0.01, 0.01), (0.5, 0.5)))
    assert log_ratio(msgspec.structs.replace(pair, quads=hiccup)) == pytest.approx(0.0, abs=1e-12)


def test_the_smallest_detectable_slowdown_is_the_threshold_without_noise_and_grows_with_it() -> None:
    def smallest(scale: float, count: int, cases: int = 1) -> float:
        pairs = make_pairs(*(scale * noise for noise in NOISE[:count]))
        found = judge_case(make_gate_case(*pairs), SETTINGS, Company(cases)).smallest_detectable
        assert found is not None
        return found

    assert smallest(0, 5) == pytest.approx(SETTINGS.threshold)
    assert SETTINGS.threshold < smallest(5, 10) < smallest(10, 10)
    assert smallest(10, 10) < smallest(10, 5)
    assert smallest(10, 10) < smallest(10, 10, cases=9)


@pytest.mark.parametrize(("count", "cases"), [(4, 1), (5, 9), (20, 1)])
def test_the_smallest_detectable_slowdown_is_found_four_times_in_five(count: int, cases: int) -> None:
    """Simulated: gates of so many pairs, and of one more where that has to confirm them."""
    spread, gates = 0.015, 500
    seen = scaled_to(spread, NOISE[:5] * (count // 5) or NOISE[:count])
    slowdown = judge_case(make_gate_case(*make_pairs(*seen)), SETTINGS, Company(cases)).smallest_detectable
    assert slowdown is not None
    chance = random.Random(count)  # noqa: S311 - it draws noise.
    pairs = count + (count in LOOKS)
    found = 0
    for _ in range(gates):
        logs = [chance.gauss(math.log1p(slowdown), spread) for _ in range(pairs)]
        found += judge_steps(logs, SETTINGS, Company(cases))[0] is GateVerdict.REGRESSION
    assert 0.74 * gates < found < 0.86 * gates


def scaled_to(spread: float, noise: Sequence[float]) -> list[float]:
    factor = spread / statistics.stdev(noise)
    return [factor * value for value in noise]


def test_more_cases_make_each_judgement_stricter() -> None:
    logs = [0.036, 0.03, 0.05, 0.045, 0.03, 0.04]
    assert verdict(*logs) is GateVerdict.REGRESSION
    assert verdict(*logs, cases=30) is GateVerdict.INCONCLUSIVE
    alone = make_gate(make_gate_case(*make_pairs(*logs)))
    steady = make_gate_case(*make_pairs(*[0.0] * 6))  # It has no spread to lend.
    among = make_gate(*alone.cases, *(steady for _ in range(29)))
    assert judge_gate(alone).verdict is GateVerdict.REGRESSION
    assert judge_gate(among).verdict is GateVerdict.INCONCLUSIVE


def test_cases_of_a_gate_lend_each_other_their_spread() -> None:
    logs = [0.036, 0.03, 0.05, 0.045, 0.03, 0.04]
    case = make_gate_case(*make_pairs(*logs))
    others = (make_gate_case(*noisy_pairs(count=6), case=make_case(f"other-{number}")) for number in range(29))
    found = judge_gate(make_gate(case, *others)).cases[0]
    assert found.verdict is GateVerdict.REGRESSION
    alone = judge_case(case, SETTINGS, Company(30))
    assert alone.verdict is GateVerdict.INCONCLUSIVE
    assert found.smallest_detectable
    assert alone.smallest_detectable
    assert found.smallest_detectable < 0.7 * alone.smallest_detectable


def test_a_gates_verdict_is_the_gravest_of_its_cases() -> None:
    by_gravity = [
        make_broken(case=make_case("broken")),
        make_gate_case(*noisy_pairs(0.2), case=make_case("slower")),
        make_gate_case(case=make_case("unmeasured")),
        make_gate_case(*noisy_pairs(-0.2), case=make_case("faster")),
        make_gate_case(*noisy_pairs(), case=make_case("same")),
    ]
    verdicts = ["broken", "regression", "inconclusive", "improved", "pass"]
    for first, expected in enumerate(verdicts):
        judged = judge_gate(make_gate(*reversed(by_gravity[first:])))
        assert judged.verdict == expected
        assert [case.verdict for case in judged.cases] == verdicts[first:][::-1]
        assert judged.threshold == SETTINGS.threshold


@pytest.mark.parametrize("changes", [{"threshold": 0.0}, {"threshold": 1.0}, {"false_alarms": 0.0}, {"pairs": 0}])
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StepbenchError, match="takes a threshold above 0%"):
        GateSettings(**changes)


def test_a_sides_step_time_has_its_interval_over_pairs() -> None:
    case = make_gate_case(*noisy_pairs(0.1))
    base, head = (side_step_time(case, side) for side in SideName)
    assert base
    assert head
    assert (base.value, base.low, base.high) == pytest.approx((STEP_S,) * 3)
    ratio = judge_case(case, SETTINGS).ratio
    assert ratio
    assert (head.value, head.low, head.high) == pytest.approx(
        (STEP_S * ratio.value, STEP_S * (ratio.low or 0), STEP_S * (ratio.high or 0))
    )
    assert side_step_time(make_gate_case(), SideName.BASE) is None
