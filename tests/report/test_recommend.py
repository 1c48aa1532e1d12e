from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import make_case, make_failed, make_measurement, make_phases, make_run

from stepbench.judge.training import Equivalence, Verdict
from stepbench.records.cases import EAGER, GRAPH, XLA, Case, Device
from stepbench.records.run import Measurement
from stepbench.records.store import Run
from stepbench.report.recommend import Recommendation, recommend
from stepbench.report.summary import restricted, summarize

REPLICATES = ([0.99] * 4, [1.01] * 4, [1.0] * 4)
NOISY = ([0.98] * 4, [1.02] * 4, [1.0] * 4)
ROUGH = ([0.9] * 4, [1.1] * 4, [1.0] * 4)


def timed(case: Case, seconds: float, noise: tuple[list[float], ...] = REPLICATES, **changes: Any) -> Measurement:
    return make_measurement(case, *([seconds * share for share in shares] for shares in noise), **changes)


EAGER_TIMED = timed(make_case(EAGER), 0.4)
GRAPH_TIMED = timed(make_case(GRAPH), 0.1, phases=make_phases(first_call_s=10.0))
XLA_TIMED = timed(make_case(XLA), 0.2)


def recommended(run: Run, default: Verdict = Verdict.EQUIVALENT, **verdicts: Verdict) -> tuple[Recommendation, ...]:
    """What is recommended where each execution has one of ``verdicts``, which has one reason."""

    def equivalence(execution: str) -> Equivalence:
        return Equivalence(verdicts.get(execution, default), (f"{execution} is so",))

    cases = [msgspec.structs.replace(case, equivalence=equivalence(case.execution)) for case in summarize(run).cases]
    return recommend(run, cases)


def only(*measurements: Measurement, default: Verdict = Verdict.EQUIVALENT, **verdicts: Verdict) -> Recommendation:
    (found,) = recommended(make_run(*measurements), default, **verdicts)
    return found


def test_the_fastest_is_recommended_with_its_speedup_and_its_verdict() -> None:
    found = only(EAGER_TIMED, XLA_TIMED, GRAPH_TIMED)
    assert (found.workload, found.device, found.best) == ("cnn", "cpu", ("cnn/graph/float32/cpu/b64",))
    assert found.headline == "graph/float32: 4.00× [4.00, 4.00] as fast as eager/float32, equivalent"
    assert found.title == "cnn on cpu: what to use"


def test_it_is_said_how_far_ahead_of_the_next_it_is_and_when_it_pays_back() -> None:
    lead = "graph/float32 is 2.00× [2.00, 2.00] as fast as the next, xla/float32"
    # 9 s more, and 30 ms saved each step.
    paid_back = "pays back its longer first call after 300 steps"
    assert only(EAGER_TIMED, XLA_TIMED, GRAPH_TIMED).why == (f"{lead}, and {paid_back}",)
    quick = timed(make_case(GRAPH), 0.1)
    assert only(EAGER_TIMED, quick).why == ("graph/float32 takes no longer than eager/float32 for its first call",)
    assert only(XLA_TIMED, quick).why == (lead,)


def test_without_a_reference_the_step_time_is_told() -> None:
    headline = only(XLA_TIMED, GRAPH_TIMED).headline
    assert headline == "graph/float32: 10.0 [9.75, 10.3] ms a step, equivalent"
    elsewhere = tuple(
        msgspec.structs.replace(replicate, number=replicate.number + 9) for replicate in EAGER_TIMED.replicates
    )
    headline = only(msgspec.structs.replace(EAGER_TIMED, replicates=elsewhere), XLA_TIMED, GRAPH_TIMED).headline
    assert headline == "graph/float32: 10.0 [9.75, 10.3] ms a step, equivalent"


def test_a_tie_is_called_a_tie() -> None:
    found = only(EAGER_TIMED, timed(make_case(XLA), 0.1, NOISY), GRAPH_TIMED)
    assert set(found.best) == {"cnn/graph/float32/cpu/b64", "cnn/xla/float32/cpu/b64"}
    assert found.headline.startswith("xla/float32 or graph/float32, a tie: ")
    assert found.headline.endswith("× [4.00, 4.00] as fast as eager/float32, equivalent")
    assert "the next" not in "".join(found.why)


def test_no_tie_is_called_between_cases_of_which_one_may_be_far_slower() -> None:
    found = only(EAGER_TIMED, timed(make_case(XLA), 0.1, ROUGH), GRAPH_TIMED)
    assert set(found.best) == {"cnn/graph/float32/cpu/b64", "cnn/xla/float32/cpu/b64"}
    assert found.headline == (
        "too few replicates to choose among xla/float32 and graph/float32: measure again with more --replicates"
    )


def test_of_many_that_are_tied_three_are_named() -> None:
    found = only(EAGER_TIMED, *(timed(make_case(name), 0.1, NOISY) for name in "abcde"))
    assert len(found.best) == 5
    assert found.headline.startswith("a/float32, b/float32, c/float32 or 2 more, a tie: ")
    assert "] to 4.0" in found.headline


def test_where_nothing_beats_the_reference_it_is_recommended() -> None:
    found = only(EAGER_TIMED, timed(make_case(GRAPH), 0.8))
    assert found.best == ("cnn/eager/float32/cpu/b64",)
    assert found.headline == "eager/float32: nothing else is shown to be faster and to converge alike"
    tie = only(EAGER_TIMED, timed(make_case(GRAPH), 0.397, NOISY))
    assert tie.headline.endswith("a tie: nothing else is shown to be faster and to converge alike")
    assert tie.why == (), "what may be no faster may never pay back"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.DIFFERENT, "converges differently"),
        (Verdict.INCONCLUSIVE, "is not shown to converge alike"),
        (Verdict.NOT_CHECKED, "is not shown to converge alike"),
    ],
)
def test_what_is_faster_without_converging_alike_is_named_first_with_the_reason(verdict: Verdict, said: str) -> None:
    found = only(EAGER_TIMED, XLA_TIMED, GRAPH_TIMED, graph=verdict)
    assert found.headline == "xla/float32: 2.00× [2.00, 2.00] as fast as eager/float32, equivalent"
    assert found.why[0] == f"graph/float32 is faster, 2.00× [2.00, 2.00], but {said}: graph is so"


def test_several_such_share_a_sentence() -> None:
    found = only(EAGER_TIMED, XLA_TIMED, GRAPH_TIMED, graph=Verdict.INCONCLUSIVE, xla=Verdict.NOT_CHECKED)
    assert found.why[0] == "graph/float32 and xla/float32 are faster, but are not shown to converge alike"


def test_where_nothing_was_verified_the_headline_says_so() -> None:
    found = only(EAGER_TIMED, GRAPH_TIMED, default=Verdict.NOT_CHECKED)
    assert found.headline == "graph/float32: 4.00× [4.00, 4.00] as fast as eager/float32, convergence not checked"
    found = only(EAGER_TIMED, GRAPH_TIMED, default=Verdict.INCONCLUSIVE)
    assert found.headline.endswith("eager/float32, not shown to converge alike")
    found = only(EAGER_TIMED, timed(make_case(GRAPH), 0.8), default=Verdict.NOT_CHECKED)
    assert found.headline == "eager/float32: nothing else is shown to be faster, convergence not checked"


def test_one_replicate_recommends_nothing() -> None:
    once = [make_measurement(case, [seconds]) for case, seconds in ((make_case(EAGER), 0.4), (make_case(GRAPH), 0.1))]
    found = only(*once)
    assert (found.best, found.why) == ((), ())
    assert found.headline == (
        "no recommendation: so few replicates give no interval (graph/float32 was fastest); "
        "measure again with more --replicates"
    )


def test_where_all_converges_differently_nothing_is_recommended() -> None:
    found = only(EAGER_TIMED, GRAPH_TIMED, default=Verdict.DIFFERENT)
    assert (found.best, found.why) == ((), ())
    assert found.headline == "no recommendation: everything that was timed converges differently"


def test_without_a_choice_there_is_no_recommendation() -> None:
    assert recommended(make_run(GRAPH_TIMED, make_failed(make_case(XLA)))) == ()
    untimed = [Measurement(make_case(name)) for name in (EAGER, GRAPH)]
    assert recommended(make_run(*untimed)) == ()


def test_each_workload_and_device_has_its_own() -> None:
    places = [(workload, device) for workload in ("b", "a") for device in (Device.GPU, Device.CPU)]
    cases = [make_case(name, workload=place[0], device=place[1]) for place in places for name in (EAGER, GRAPH)]
    run = make_run(*(timed(case, 0.4 if case.variant.execution == EAGER else 0.1) for case in cases))
    found = recommended(run)
    assert [(one.workload, one.device) for one in found] == [("a", "cpu"), ("a", "gpu"), ("b", "cpu"), ("b", "gpu")]
    assert {len(one.best) for one in found} == {1}


def test_steps_per_call_are_free_to_choose() -> None:
    several = timed(make_case(GRAPH, steps_per_call=20), 0.05)
    found = only(EAGER_TIMED, GRAPH_TIMED, several)
    assert found.best == (several.case.id,)
    assert found.headline.startswith("graph/float32/k20: 8.00×")


def test_cases_are_compared_within_the_first_batch_size_and_throughputs_told_of_all() -> None:
    large = [make_case(name, batch_size=256) for name in (EAGER, GRAPH)]
    found = only(EAGER_TIMED, GRAPH_TIMED, timed(large[0], 0.8), timed(large[1], 0.2))
    assert found.best == ("cnn/graph/float32/cpu/b64",)
    assert found.headline.startswith("graph/float32 at batch size 64: 4.00×")
    assert found.why[-1] == (
        "examples a second: 6 400 [6 243, 6 561] at batch size 64 (graph/float32); "
        "12 800 [12 486, 13 122] at batch size 256 (graph/float32); "
        "but another batch size learns differently"
    )


def test_the_batch_size_is_that_of_a_reference() -> None:
    unreferenced = [timed(make_case(name, batch_size=8), 0.1) for name in (GRAPH, XLA)]
    found = only(*unreferenced, EAGER_TIMED, GRAPH_TIMED)
    assert found.headline.startswith("graph/float32 at batch size 64: 4.00×")


def test_the_summary_holds_it_but_not_that_of_certain_cases() -> None:
    summary = summarize(make_run(EAGER_TIMED, GRAPH_TIMED))
    assert [found.best for found in summary.recommendations] == [(GRAPH_TIMED.case.id,)]
    parsed = msgspec.json.decode(msgspec.json.encode(summary))
    assert set(parsed["recommendations"][0]) == {"workload", "device", "best", "headline", "is_rough", "why"}
    assert restricted(summary, {GRAPH_TIMED.case.id}).recommendations == ()
