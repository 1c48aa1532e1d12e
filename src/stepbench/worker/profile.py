"""Inside a worker: a few steps of a warm case traced by TensorFlow's profiler, and the trace looked at."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from stepbench.records.cases import Tracing
from stepbench.records.trace import MOST_EVENTS, Trace, TraceFacts
from stepbench.training.executions import Call
from stepbench.training.fit_data import Batch
from stepbench.worker.timing import WarmCase
from stepbench.worker.trace_reading import PICOSECONDS, Timeline, operations_of
from stepbench.worker.xplane import CASE, STEP_MARK, TraceContent, UnreadableTraceError, hide_loops, read_xplane

SETTLING_CALLS = 2
STEPS_TABLE = 1
"""The table of the overview page's data that has a row a step."""


def trace_case(warm: WarmCase, settings: Tracing, folder: Path) -> Trace:
    """Trace steps of ``warm`` into ``folder``, and say what is in the trace.

    Raises:
        UnreadableTraceError: when the trace cannot be read back.
        tf.errors.OpError: when the profiler cannot start or write.
    """
    per_call = warm.case.steps_per_call
    calls = settings.calls_of(warm.case, warm.call_s)
    warm.restore()
    _run(warm, SETTLING_CALLS)
    before = _run(warm, calls)
    # Without options: TensorFlow 2.21 ignores them, and traces cheap operations too, but no Python calls.
    tf.profiler.experimental.start(str(folder))
    try:
        _run(warm, calls + settings.left_out, traced=True)
    finally:
        tf.profiler.experimental.stop()
    after = _run(warm, calls)
    file = _only_file(folder)
    hide_loops(file)
    content = read_xplane(file)
    facts = msgspec.structs.replace(_facts(file, content), asked=calls)
    inner = _inner(content.timeline, settings)
    length = sum(step.end - step.start for step in inner.steps) / PICOSECONDS
    untraced_step_s = (before + after) / 2 / calls / per_call
    return Trace(
        path=str(file.parent),
        facts=facts,
        step_s=length / per_call / len(inner.steps) if inner.steps else untraced_step_s,  # It is refused then.
        untraced_step_s=untraced_step_s,
        operations=operations_of(inner, per_call) if inner.steps else (),
    )


def _run(warm: WarmCase, calls: int, *, traced: bool = False) -> float:
    """Call the step, waiting for the device after each; the seconds that it took."""
    started = time.perf_counter()
    for number in range(calls):
        batch = warm.ring[number % len(warm.ring)]
        if traced:
            # _r marks the root of a group of events: what happens inside belongs to this step.
            with tf.profiler.experimental.Trace(STEP_MARK, step_num=number, _r=1, **{CASE: warm.case.id}):
                _call(warm.call, batch)
        else:
            _call(warm.call, batch)
    return time.perf_counter() - started


def _call(call: Call, batch: Batch) -> None:
    call(batch)
    tf.test.experimental.sync_devices()


def _only_file(folder: Path) -> Path:
    files = list(folder.glob("plugins/profile/*/*.xplane.pb"))
    if len(files) != 1:
        raise UnreadableTraceError(f"the profiler left {len(files)} trace files, not one")
    return files[0]


def _inner(timeline: Timeline, settings: Tracing) -> Timeline:
    """The steps that the viewer shows."""
    each = settings.left_out // 2
    return Timeline(timeline.steps[each:-each], timeline.operations, timeline.marks, timeline.functions)


def _facts(file: Path, content: TraceContent) -> TraceFacts:
    tools, overview = _convert(file) if content.events <= MOST_EVENTS else ({}, b"")
    return TraceFacts(
        cases=tuple(sorted(content.cases)),
        steps=content.step_numbers,
        events=content.events,
        problems=content.problems,
        device_events=content.device_events,
        xla_events=content.xla_events,
        modules=content.modules,
        overview_steps=_overview_steps(overview),
        tools=tools,
    )


def _convert(file: Path) -> tuple[dict[str, str | None], bytes]:
    """Have each of the viewer's tools convert the trace: null or what went wrong, and the overview's data."""
    from xprof.convert import raw_to_tool_data as xprof

    paths = [str(file)]
    tools: dict[str, str | None] = {}
    overview = b""
    names = xprof.xspace_to_tool_names(paths)
    for name in names:
        try:
            data, _ = xprof.xspace_to_tool_data(paths, name, _parameters(name, file.parent))
        except Exception as error:  # noqa: BLE001 - whatever it raises, the tool would show nothing.
            tools[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        tools[name] = None if data else "it gives no data"
        if name == "overview_page" and data:
            overview = data if isinstance(data, bytes) else data.encode()
    return tools, overview


def _parameters(tool: str, folder: Path) -> dict[str, Any]:
    """What the viewer's page sends along: these two tools show one XLA module."""
    modules = [path.name.removesuffix(".hlo_proto.pb") for path in sorted(folder.glob("*.hlo_proto.pb"))]
    module = modules[0] if modules else ""
    if tool == "memory_viewer":
        return {"module_name": module}
    return {"graph_viewer_options": {"module_name": module, "type": "short_txt"}} if tool == "graph_viewer" else {}


def _overview_steps(overview: bytes) -> int:
    """How many steps the overview page shows a time for."""
    try:
        table = json.loads(overview)[STEPS_TABLE]
        return len(table["rows"])
    except (ValueError, LookupError, TypeError):
        return 0
