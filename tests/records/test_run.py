from __future__ import annotations

import msgspec
import pytest
from builders import (
    make_block,
    make_case,
    make_closing,
    make_events,
    make_evidence,
    make_failed,
    make_measurement,
    make_phases,
    make_trace,
)
from hypothesis import given
from hypothesis import strategies as st

from stepbench.records.machine import Noise
from stepbench.records.run import (
    BlockMeasured,
    CaseFailed,
    Event,
    Failure,
    FailureKind,
    InputWait,
    Measurement,
    ReplicateEnded,
    ReplicateStarted,
    TraceCaptured,
    TraceFailed,
    assemble,
)

CASE = make_case()
OTHER = make_case("xla")
BROKEN = Failure(FailureKind.ERROR, "It broke.")


def failed(message: str, kind: FailureKind = FailureKind.ERROR) -> CaseFailed:
    return CaseFailed(CASE.id, 0, Failure(kind, message))


def test_measurements_come_in_the_order_of_the_cases_also_without_events() -> None:
    assert assemble([CASE, OTHER], []) == (Measurement(CASE), Measurement(OTHER))
    events = [*make_events(OTHER, 1), *make_events(CASE, 1)]
    assert [measurement.case for measurement in assemble([CASE, OTHER], events)] == [CASE, OTHER]


def test_a_replicate_holds_what_its_worker_reported_also_where_it_was_cut_short() -> None:
    (measurement,) = assemble([CASE], make_events(CASE, 3, replicate=5))
    (replicate,) = measurement.replicates
    assert (replicate.number, replicate.phases, replicate.evidence) == (5, make_phases(), make_evidence(CASE))
    assert [block.round for block in replicate.blocks] == [0, 1, 2]
    assert replicate.closing == make_closing()
    (measurement,) = assemble([CASE], make_events(CASE, 3)[:-1])
    assert len(measurement.replicates[0].blocks) == 3
    assert measurement.replicates[0].closing is None


@given(st.randoms(use_true_random=False))
def test_interleaved_workers_are_told_apart(random: object) -> None:
    assert hasattr(random, "shuffle")
    queues = [make_events(case, 4, number) for case in (CASE, OTHER) for number in (0, 1, 2)]
    apart = assemble([CASE, OTHER], [event for queue in queues for event in queue])
    turns = [index for index, queue in enumerate(queues) for _ in queue]
    random.shuffle(turns)
    interleaved = assemble([CASE, OTHER], [queues[index].pop(0) for index in turns])
    for one, other in zip(interleaved, apart, strict=True):
        assert {replicate.number: replicate for replicate in one.replicates} == {
            replicate.number: replicate for replicate in other.replicates
        }


def test_replicates_come_in_the_order_in_which_they_started() -> None:
    events = [event for number in (3, 0, 7) for event in make_events(CASE, 1, number)]
    (measurement,) = assemble([CASE], events)
    assert [replicate.number for replicate in measurement.replicates] == [3, 0, 7]


def test_the_first_failure_of_a_case_is_its_own_and_kept_beside_what_was_measured_before() -> None:
    crash = failed("It crashed.", FailureKind.CRASH)
    (measurement,) = assemble([CASE], [*make_events(CASE, 2)[:-1], crash])
    assert measurement.failure == crash.failure
    assert len(measurement.replicates[0].blocks) == 2
    one, other = assemble([CASE, OTHER], [failed("It broke."), *make_events(OTHER, 1)])
    assert one == make_failed(CASE)
    assert other.failure is None
    (measurement,) = assemble([CASE], [failed("First."), failed("Second.", FailureKind.TIMEOUT)])
    assert measurement.failure == Failure(FailureKind.ERROR, "First.")


def test_events_of_cases_that_are_not_asked_for_are_left_out() -> None:
    assert assemble([CASE], [*make_events(OTHER, 2), *make_events(CASE, 1)]) == assemble([CASE], make_events(CASE, 1))


def test_a_trace_is_kept_beside_what_was_measured_and_one_that_failed_is_no_failure_of_the_case() -> None:
    (measurement,) = assemble([CASE], [*make_events(CASE, 1), TraceCaptured(CASE.id, make_trace(CASE))])
    assert measurement.trace == make_trace(CASE)
    assert (measurement.failure, measurement.trace_failure, len(measurement.replicates)) == (None, None, 1)
    one, other = assemble([CASE, OTHER], [*make_events(CASE, 1), TraceFailed(CASE.id, BROKEN)])
    assert (one.trace, one.trace_failure, one.failure, len(one.replicates)) == (None, BROKEN, None, 1)
    assert other.trace_failure is None


@pytest.mark.parametrize("events", [make_events(CASE, 1)[1:2], make_events(CASE, 1)[-1:]], ids=["a block", "an end"])
def test_what_belongs_to_no_started_replicate_is_refused(events: list[Event]) -> None:
    with pytest.raises(ValueError, match="replicate 0 of cnn/graph/float32/cpu/b64 never started"):
        assemble([CASE], [*make_events(CASE, 1, replicate=1), *events])


EVENTS: list[Event] = [
    ReplicateStarted(CASE.id, 1, make_phases(), make_evidence(CASE)),
    ReplicateStarted(CASE.id, 1, make_phases(), make_evidence(CASE, loss=None, claims=None, compute_ops={})),
    BlockMeasured(CASE.id, 1, make_block(2, 0.123456789012345)),
    BlockMeasured(CASE.id, 1, make_block(loss=None, leaked_cpu_s=0.5, noise=Noise())),
    ReplicateEnded(CASE.id, 1, make_closing()),
    ReplicateEnded(CASE.id, 1, make_closing(device_peak_bytes=2**33, input_wait=InputWait(10, 1.5, 0.25))),
    TraceCaptured(CASE.id, make_trace(CASE)),
    TraceFailed(CASE.id, Failure(FailureKind.NOT_PROVED, "The trace: it marks no steps.")),
    *(CaseFailed("שלום/<script>", 0, Failure(kind, 'line\n"quote" \x1b[31m')) for kind in FailureKind),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_survives_json_on_one_line(event: Event) -> None:
    line = msgspec.json.encode(event)
    assert msgspec.json.decode(line, type=Event) == event
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_stored_as_null(number: float) -> None:
    line = msgspec.json.encode(BlockMeasured(CASE.id, 0, make_block(loss=number)))
    assert msgspec.json.decode(line, type=Event) == BlockMeasured(CASE.id, 0, make_block(loss=None))


def test_a_measurement_survives_json() -> None:
    measurement = make_measurement(CASE, [0.1, 0.2], [0.3])
    assert msgspec.json.decode(msgspec.json.encode(measurement), type=Measurement) == measurement


@pytest.mark.parametrize(
    "line", [b'{"type":"block"}', b'{"type":"other","case":"x"}', b"{}", b"[]", b'{"type":"failed","case":1}']
)
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(line, type=Event)
