"""Traces of real steps, captured in this process: what is found in them, and which of them are refused."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import places
import pytest
import tensorflow as tf
from marks import few
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from stepbench.judge import proof
from stepbench.judge.breakdown import Category, break_down, category_of
from stepbench.judge.proof import judge_trace
from stepbench.records.cases import EAGER, GRAPH, XLA, Case, Device, Precision, Tracing, Variant
from stepbench.records.run import FailureKind
from stepbench.records.trace import Trace
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.fit_data import Batch
from stepbench.training.locate import load_workload
from stepbench.training.task import open_task
from stepbench.worker import profile as tracing
from stepbench.worker import xplane
from stepbench.worker.profile import trace_case
from stepbench.worker.timing import WarmCase
from stepbench.worker.xplane import hide_loops, read_xplane

pytestmark = pytest.mark.tensorflow
use_device(Device.CPU)  # While tests are collected: later TensorFlow may have started.

SLOWED = f"{places.SLOWED}:workload"
SETTINGS = Tracing(steps=5)
STEPS_PER_CALL = 5
PRODUCTS = 5
"""Of a step: two layers forward, two gradients of weights, and one of activations."""
CASES = {
    "eager": (EAGER, 1),
    "graph": (GRAPH, 1),
    "xla": (XLA, 1),
    "graph in a loop": (GRAPH, STEPS_PER_CALL),
    "xla in a loop": (XLA, STEPS_PER_CALL),
}


USUAL = few("eager", "graph", "graph in a loop", "xla in a loop", of=CASES)


@dataclass(frozen=True)
class Traced:
    """A case, and a trace of it."""

    warm: WarmCase
    trace: Trace

    @property
    def case(self) -> Case:
        return self.warm.case

    @property
    def file(self) -> Path:
        (file,) = Path(self.trace.path).glob("*.xplane.pb")
        return file

    def refusal(self, trace: Trace | None = None, **changes: object) -> str:
        """Why the trace is refused, or one like it but for what is found in it."""
        trace = trace or self.trace
        facts = msgspec.structs.replace(trace.facts, **changes)
        return refusal(self.case, msgspec.structs.replace(trace, facts=facts))


def refusal(case: Case, trace: Trace, settings: Tracing = SETTINGS, claims: str | None = None) -> str:
    failure = judge_trace(case, trace, settings, claims or case.variant.execution)
    assert failure is None or failure.kind in (FailureKind.NOT_PROVED, FailureKind.UNSUPPORTED)
    return failure.message if failure else ""


Capture = Callable[[str], Traced]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Each case is traced once, when it is first asked for."""

    @functools.cache
    def capture(name: str) -> Traced:
        execution, steps_per_call = CASES[name]
        workload = load_workload(SLOWED)
        case = Case(workload.name, Variant(execution, Precision.FLOAT32), Device.CPU, 32, steps_per_call)
        warm = WarmCase(case, open_task(workload, resolve_source("synthetic", limit=512)), seed=0)
        return Traced(warm, trace_case(warm, SETTINGS, tmp_path_factory.mktemp("trace")))

    return capture


@pytest.mark.parametrize("name", USUAL)
def test_a_real_trace_holds_the_steps_asked_for_is_accepted_and_can_be_shown(traced: Capture, name: str) -> None:
    found = traced(name)
    facts = found.trace.facts
    calls = SETTINGS.calls(found.case)
    assert facts.cases == (found.case.id,)
    assert facts.steps == tuple(range(calls + SETTINGS.left_out))
    assert facts.overview_steps == calls
    assert found.refusal() == ""
    tools = facts.tools
    assert {"overview_page", "trace_viewer@", "framework_op_stats"} <= set(tools)
    assert [why for why in tools.values() if why] == []


@pytest.mark.parametrize("name", USUAL)
def test_the_operations_of_a_step_add_up_to_it_and_are_found_in_every_part(traced: Capture, name: str) -> None:
    found = traced(name)
    trace = found.trace
    assert sum(operation.seconds for operation in trace.operations) == pytest.approx(trace.step_s)
    assert trace.step_s > 0
    assert trace.untraced_step_s > 0
    parts = break_down(trace).by_part()
    assert [part for part in ("forward", "loss", "backward", "update", "metrics") if not parts[part] > 0] == []
    products = [operation for operation in trace.operations if category_of(operation) is Category.MATRIX_PRODUCT]
    assert sum(product.calls for product in products) == pytest.approx(PRODUCTS)
    assert {product.part for product in products} == {"forward", "backward"}
    in_xla = found.case.variant.execution == XLA
    assert (trace.facts.xla_events > 0) == in_xla
    assert trace.facts.modules > 0 or not in_xla


def test_a_trace_of_one_step_has_as_many_more_as_the_viewer_needs(traced: Capture, tmp_path: Path) -> None:
    found = traced("graph")
    settings = Tracing(steps=1)
    trace = trace_case(found.warm, settings, tmp_path)
    assert trace.facts.overview_steps == settings.calls(found.case)
    assert refusal(found.case, trace, settings) == ""


def test_steps_that_mark_themselves_as_tensorflows_guide_says_are_no_more_steps(
    traced: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = traced("graph")
    numbers, call = itertools.count(17), found.warm.call

    def marked(batch: Batch) -> Any:
        with tf.profiler.experimental.Trace("train", step_num=next(numbers), _r=1):
            return call(batch)

    monkeypatch.setattr(found.warm, "call", marked)
    assert found.refusal(trace_case(found.warm, SETTINGS, tmp_path)) == ""


def test_a_trace_whose_steps_are_not_marked_is_refused(
    traced: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = traced("graph")
    monkeypatch.setattr(tf.profiler.experimental, "Trace", lambda *_, **__: contextlib.nullcontext())
    trace = trace_case(found.warm, SETTINGS, tmp_path)
    assert "it marks no steps" in found.refusal(trace)
    assert trace.operations == ()


def test_a_trace_with_fewer_steps_than_asked_for_is_refused(traced: Capture) -> None:
    found = traced("graph")
    said = found.refusal(asked=8)
    assert "it holds 5 whole steps, not 8" in said
    assert "its overview shows 5 steps, not 8" in said


def test_a_trace_of_another_case_is_refused(traced: Capture) -> None:
    said = refusal(traced("graph").case, traced("eager").trace)
    assert f"its steps belong to {traced('eager').case.id}, not to {traced('graph').case.id}" in said


@pytest.mark.parametrize("name", ["eager", "graph in a loop"])
def test_a_trace_without_xla_does_not_pass_for_one_with(traced: Capture, name: str) -> None:
    found = traced(name)
    assert "it shows no XLA module" in refusal(found.case, found.trace, claims=XLA)


@pytest.mark.parametrize("name", ["eager", "xla in a loop"])
def test_a_trace_cut_off_anywhere_is_damaged_or_refused(traced: Capture, name: str, tmp_path: Path) -> None:
    found = traced(name)
    content = found.file.read_bytes()
    file = tmp_path / "cut.xplane.pb"
    for twentieth in range(1, 20):
        file.write_bytes(content[: len(content) * twentieth // 20])
        for read in (hide_loops, read_xplane):
            with pytest.raises(ValueError, match=r"the trace file cut\.xplane\.pb is damaged"):
                read(file)
        assert tracing._convert(file) == ({}, b"")


def test_an_empty_trace_is_refused(traced: Capture, tmp_path: Path) -> None:
    file = tmp_path / "empty.xplane.pb"
    file.touch()
    hide_loops(file)
    facts = tracing._facts(file, read_xplane(file))
    assert "it marks no steps" in traced("graph").refusal(**msgspec.structs.asdict(facts))


def test_a_trace_that_the_viewer_groups_by_loop_iterations_is_refused(traced: Capture, tmp_path: Path) -> None:
    found = traced("graph in a loop")
    space = xplane_pb2.XSpace.FromString(found.file.read_bytes())
    for plane in space.planes:
        for metadata in plane.stat_metadata.values():
            metadata.name = metadata.name.replace(xplane._ITERATION_RENAMED, xplane._ITERATION)
    file = tmp_path / "loops.xplane.pb"
    file.write_bytes(space.SerializeToString())
    facts = tracing._facts(file, read_xplane(file))
    assert facts.steps == found.trace.facts.steps
    assert "its overview shows 0 steps, not 4" in found.refusal(overview_steps=facts.overview_steps)


def test_a_trace_that_the_profiler_itself_complains_of_is_refused(traced: Capture, tmp_path: Path) -> None:
    space = xplane_pb2.XSpace.FromString(traced("graph").file.read_bytes())
    space.errors.append("events were dropped")
    file = tmp_path / "dropped.xplane.pb"
    file.write_bytes(space.SerializeToString())
    said = traced("graph").refusal(problems=read_xplane(file).problems)
    assert "the profiler says: events were dropped" in said


def test_a_trace_with_more_events_than_viewers_show_is_refused(
    traced: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = traced("graph")
    events = found.trace.facts.events
    for most, expected in ((events, ""), (events - 1, f"it holds {events} events, and viewers show at most")):
        for module in (tracing, xplane, proof):
            monkeypatch.setattr(module, "MOST_EVENTS", most)
        facts = tracing._facts(found.file, read_xplane(found.file))
        assert bool(facts.steps) == bool(facts.tools) == (not expected)
        said = found.refusal(**msgspec.structs.asdict(facts))
        assert expected in said if expected else not said


def test_a_profiler_that_leaves_no_file_or_several_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="left 0 trace files"):
        tracing._only_file(tmp_path)
    for session in ("one", "two"):
        file = tmp_path / "plugins" / "profile" / session / "host.xplane.pb"
        file.parent.mkdir(parents=True)
        file.touch()
    with pytest.raises(ValueError, match="left 2 trace files"):
        tracing._only_file(tmp_path)
