"""What makes a trace one that a reviewer can rely on, each fault planted in a good one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import make_case, make_facts, make_trace

from stepbench.judge.proof import judge_trace
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Device, Tracing
from stepbench.records.run import Failure, FailureKind
from stepbench.records.trace import MOST_EVENTS

SETTINGS = Tracing()
CASE = make_case(GRAPH)
OTHER = make_case(EAGER)
IN_XLA = make_case(XLA)
ON_GPU = make_case(GRAPH, device=Device.GPU)
SEVERAL = make_case(XLA, steps_per_call=2)


def judged(case: Case, settings: Tracing = SETTINGS, claims: str | None = None, **changes: Any) -> Failure | None:
    """The verdict on a good trace of ``case`` with ``changes``, whose execution claims to be what it is called."""
    facts = make_facts(case, settings, **changes)
    return judge_trace(case, make_trace(case, facts=facts), settings, claims or case.variant.execution)


def complaint(failure: Failure | None, kind: FailureKind = FailureKind.NOT_PROVED) -> str:
    assert failure is not None
    assert failure.kind is kind
    return failure.message


@pytest.mark.parametrize(
    "case",
    [
        *(make_case(execution) for execution in (EAGER, GRAPH, XLA, KERAS, "mine")),
        *(make_case(execution, device=Device.GPU) for execution in (EAGER, GRAPH, XLA)),
        *(make_case(XLA, steps_per_call=calls) for calls in (2, 3, 8, 100)),
    ],
    ids=str,
)
def test_the_innocent_pass(case: Case) -> None:
    assert [judged(case, Tracing(steps)) for steps in (1, 4, 10, 50)] == [None] * 4


PLANTED: list[tuple[Case, dict[str, Any], str]] = [
    (CASE, {"steps": ()}, "it marks no steps"),
    (CASE, {"steps": (), "cases": (), "overview_steps": 0}, "it marks no steps"),
    (CASE, {"cases": (OTHER.id,)}, f"its steps belong to {OTHER.id}, not to {CASE.id}"),
    (CASE, {"cases": (OTHER.id, CASE.id)}, f"its steps belong to {OTHER.id}, {CASE.id}, not to {CASE.id}"),
    (CASE, {"cases": ()}, f"its steps belong to no case, not to {CASE.id}"),
    (CASE, {"steps": tuple(range(11))}, "it holds 9 whole steps, not 10"),
    (CASE, {"steps": tuple(range(13))}, "it holds 11 whole steps, not 10"),
    (CASE, {"steps": (0,)}, "it holds 0 whole steps, not 10"),
    (CASE, {"overview_steps": 9}, "its overview shows 9 steps, not 10"),
    (CASE, {"overview_steps": 12}, "its overview shows 12 steps, not 10"),
    (CASE, {"overview_steps": 0}, "its overview shows 0 steps, not 10"),
    (SEVERAL, {"steps": tuple(range(12))}, "it holds 10 whole steps, not 5"),
    (SEVERAL, {"overview_steps": 10}, "its overview shows 10 steps, not 5"),
    (CASE, {"asked": 6, "overview_steps": 6}, "it holds 10 whole steps, not 6"),
    (CASE, {"asked": 1, "steps": (0, 1, 2), "overview_steps": 4}, "it holds 1 whole steps, not 4"),
    (CASE, {"problems": ("Dropped 7 events",)}, "the profiler says: Dropped 7 events"),
    (ON_GPU, {"device_events": 0}, "it shows nothing of the GPU: let users profile it"),
    (IN_XLA, {"xla_events": 0}, "it shows no XLA module, though the case is to run in XLA"),
    (IN_XLA, {"modules": 0}, "it shows no XLA module, though the case is to run in XLA"),
    (SEVERAL, {"xla_events": 0, "modules": 0}, "it shows no XLA module, though the case is to run in XLA"),
    (CASE, {"tools": {}}, "the viewer offers no tool for it: install versions of xprof and TensorFlow that fit"),
    (
        CASE,
        {"tools": {"overview_page": None, "memory_profile": "ValueError: no memory"}},
        "the viewer's memory_profile cannot show it (ValueError: no memory)",
    ),
]


@pytest.mark.parametrize(("case", "fault", "words"), PLANTED, ids=[f"{case}: {words}" for case, _, words in PLANTED])
def test_a_planted_fault_is_refused_with_its_reason(case: Case, fault: dict[str, Any], words: str) -> None:
    message = complaint(judged(case, **fault))
    assert message.startswith("The trace: ")
    assert words in message
    assert ";" not in message, "one fault, one complaint"
    assert message.endswith(".")


def test_all_faults_are_named_in_one_failure() -> None:
    fault: dict[str, Any] = {
        "overview_steps": 3,
        "problems": ("One.", "Two."),
        "xla_events": 0,
        "tools": {"one": "no", "two": "nor"},
    }
    message = complaint(judged(IN_XLA, **fault))
    wanted = ("shows 3 steps", "says: One.", "says: Two.", "no XLA module", "one cannot", "two cannot")
    assert [words for words in wanted if words not in message] == []
    assert message.count(";") == len(wanted) - 1


def test_as_many_events_as_viewers_show_pass_and_one_more_no_other_try_will_mend() -> None:
    assert judged(CASE, events=MOST_EVENTS) is None
    message = complaint(judged(CASE, events=MOST_EVENTS + 1), FailureKind.UNSUPPORTED)
    assert f"it holds {MOST_EVENTS + 1} events, and viewers show at most {MOST_EVENTS}" in message


def test_too_many_events_are_the_only_complaint_as_the_rest_is_not_read() -> None:
    fault: dict[str, Any] = {
        "events": 2 * MOST_EVENTS,
        "steps": (),
        "cases": (),
        "tools": {},
        "xla_events": 0,
        "overview_steps": 0,
    }
    assert complaint(judged(IN_XLA, **fault), FailureKind.UNSUPPORTED) == (
        "The trace: it holds 2000000 events, and viewers show at most 1000000: trace fewer --steps."
    )


@pytest.mark.parametrize("execution", ["mine", GRAPH])
def test_whoever_claims_to_be_xla_must_show_it(execution: str) -> None:
    assert "no XLA module" in complaint(judged(make_case(execution), claims=XLA))
    assert judged(make_case(execution), claims=XLA, xla_events=5, modules=1) is None


def test_nothing_is_asked_of_a_trace_that_its_case_does_not_claim() -> None:
    case = make_case("mine")
    assert judge_trace(case, make_trace(case), SETTINGS, None) is None
    assert judged(CASE, device_events=0) is None
    trace = msgspec.structs.replace(make_trace(CASE), step_s=1.0, untraced_step_s=0.1)
    assert judge_trace(CASE, trace, SETTINGS, GRAPH) is None


def test_a_trace_made_with_other_settings_is_refused() -> None:
    trace = make_trace(CASE, facts=make_facts(CASE, Tracing(20)))
    failure = judge_trace(CASE, trace, SETTINGS, GRAPH)
    assert complaint(failure) == ("The trace: it holds 20 whole steps, not 10; its overview shows 20 steps, not 10.")
    assert judge_trace(CASE, trace, Tracing(20), GRAPH) is None
