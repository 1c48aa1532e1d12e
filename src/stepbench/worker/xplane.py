"""Inside a worker: a profiler's file read into the spans that :mod:`stepbench.worker.trace_reading` works on.

An XSpace holds planes (the host, each accelerator, XLA's modules), these hold lines (threads, streams), and these
hold events. What each event means is told by its name; the names are those of TensorFlow 2.21.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from stepbench.records.trace import MOST_EVENTS, PARTS, part_of
from stepbench.worker.hlo import Instruction, instructions_of
from stepbench.worker.trace_reading import Span, Timeline

STEP_MARK = "train"
CASE = "case"
"""The statistic of a step's mark that says which case it belongs to."""
_HOST_PLANE = "/host:CPU"
_METADATA_PLANE = "/host:metadata"
_DEVICE_PLANE = re.compile(r"/device:(GPU|TPU):\d+")
_STREAM = "Stream"
_INPUT_THREAD = "tf_data"
_ITERATION, _ITERATION_RENAMED = "iter_num", "iteration"
_GRAPH_OPERATION = re.compile(r"([^:]+):([A-Za-z_]\w*)")
_EAGER_OPERATION = "EagerLocalExecute: "
_KERNEL = "KernelAndDeviceFunc::Run"
_END = "end: "
_CONTAINER = re.compile(
    r"__(inference|forward|backward)_|((Stateful)?PartitionedCall|_?XlaRun|_?XlaCompile|(Stateless)?(While|If|Case))$"
)
"""Types of operations that run others, which are seen by themselves."""


class UnreadableTraceError(ValueError):
    """The profiler left a file that cannot be read, or none."""


@dataclass(frozen=True)
class TraceContent:
    """What a trace file holds."""

    timeline: Timeline
    cases: frozenset[str]
    """That its steps say they belong to."""
    step_numbers: tuple[int, ...]
    events: int
    problems: tuple[str, ...]
    device_events: int
    xla_events: int
    modules: int


def hide_loops(path: Path) -> None:
    """Have viewers group the events of a ``.xplane.pb`` file by its marked steps, also where graphs hold loops.

    An event that tells its iteration of a loop would make them group by iterations, and show no step at all. So that
    number gets another name.

    Raises:
        UnreadableTraceError: when the file is damaged.
    """
    space = _parse(path)
    names = [metadata for plane in space.planes for metadata in plane.stat_metadata.values()]
    iterations = [metadata for metadata in names if metadata.name == _ITERATION]
    for metadata in iterations:
        metadata.name = _ITERATION_RENAMED
    if iterations:  # Most graphs have no loop, and traces are large.
        path.write_bytes(space.SerializeToString())


def read_xplane(path: Path) -> TraceContent:
    """Read a ``.xplane.pb`` file.

    Raises:
        UnreadableTraceError: when it is damaged.
    """
    space = _parse(path)
    events = sum(len(line.events) for plane in space.planes for line in plane.lines)
    # Too many to be shown are too many to be read.
    readable = space.planes if events <= MOST_EVENTS else ()
    reader = _Reader(_modules(space))
    for plane in readable:
        if plane.name == _HOST_PLANE:
            reader.read_host(plane)
        elif _DEVICE_PLANE.fullmatch(plane.name):
            reader.read_device(plane)
    return TraceContent(
        timeline=reader.timeline(),
        cases=frozenset(str(stats[CASE]) for _, stats in reader.steps),
        step_numbers=tuple(int(stats.get("step_num", -1)) for _, stats in reader.steps),
        events=events,
        problems=(*space.errors, *space.warnings),
        device_events=len(reader.device_operations),
        xla_events=reader.xla_events,
        modules=len(reader.modules),
    )


def _parse(path: Path) -> Any:
    try:
        return xplane_pb2.XSpace.FromString(path.read_bytes())
    except DecodeError as error:
        raise UnreadableTraceError(f"the trace file {path.name} is damaged: {error}") from error


_Modules = Mapping[str, Mapping[str, Instruction]]


def _modules(space: Any) -> _Modules:
    """The definitions of XLA's modules that the trace holds, by module and instruction."""
    modules = {}
    for plane in space.planes:
        stats = (stat for metadata in plane.event_metadata.values() for stat in metadata.stats)
        for stat in stats if plane.name == _METADATA_PLANE else ():
            if stat.WhichOneof("value") == "bytes_value":
                proto = hlo_pb2.HloProto.FromString(stat.bytes_value)
                modules[proto.hlo_module.name] = instructions_of(proto.hlo_module)
    return modules


@dataclass
class _Reader:
    """Collects what planes hold."""

    modules: _Modules
    steps: list[tuple[Span, Mapping[str, Any]]] = field(default_factory=list)
    host_operations: list[Span] = field(default_factory=list)
    device_operations: list[Span] = field(default_factory=list)
    marks: list[Span] = field(default_factory=list)
    functions: list[Span] = field(default_factory=list)
    xla_events: int = 0

    def timeline(self) -> Timeline:
        """What was collected; where an accelerator computes, the host only launches."""
        self.steps.sort(key=lambda step: step[0].start)
        return Timeline(
            steps=[span for span, _ in self.steps],
            operations=self.device_operations or self.host_operations,
            marks=sorted(self.marks, key=lambda span: span.start),
            functions=sorted(self.functions, key=lambda span: span.start),
        )

    def read_host(self, plane: Any) -> None:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        launches: list[tuple[Span, Instruction]] = []
        ends: defaultdict[str, list[int]] = defaultdict(list)
        for line in plane.lines:
            if line.name.startswith(_INPUT_THREAD):  # Reading ahead; the wait for it is on the step's own thread.
                continue
            spans = list(_spans(line, names))
            if any(span.name == STEP_MARK for span, _ in spans):
                self._read_step_thread(plane, spans)
            for span, event in spans:
                if span.name.startswith(_END):
                    ends[span.name.removeprefix(_END)].append(span.end)
                elif operation := _GRAPH_OPERATION.fullmatch(span.name):
                    self._add_graph_operation(span, *operation.groups())
                elif instruction := self._instruction(plane, event):
                    launches.append((span, instruction))
        self._add_xla_operations(launches, ends)

    def read_device(self, plane: Any) -> None:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            if not line.name.startswith(_STREAM):
                continue
            for span, event in _spans(line, names):
                stats = _stats(plane, event)
                name, _, kind = str(stats.get("tf_op") or span.name).rpartition(":")
                if instruction := self._instruction(plane, event):
                    self.xla_events += 1
                    name, kind = instruction.name, instruction.kind
                name = name or kind
                self.device_operations.append(Span(span.start, span.end, line.id, name, kind, part_of(name)))

    def _read_step_thread(self, plane: Any, spans: Iterable[tuple[Span, Any]]) -> None:
        """The steps, their parts, eager operations, and calls of compiled functions."""
        eager: Span | None = None
        for span, event in sorted(spans, key=lambda pair: (pair[0].start, -pair[0].end)):
            if span.name == STEP_MARK:
                stats = _stats(plane, event)
                if CASE in stats:  # TensorFlow's guide has users mark their own steps by the same name.
                    self.steps.append((span, stats))
            elif span.name in PARTS:
                self.marks.append(span)
            elif span.name.startswith(_EAGER_OPERATION):
                eager = span
                if _CONTAINER.match(span.name.removeprefix(_EAGER_OPERATION)):
                    self.functions.append(span)
            elif span.name == _KERNEL and eager is not None and span.end <= eager.end:
                kind = eager.name.removeprefix(_EAGER_OPERATION)
                if not _CONTAINER.match(kind):
                    self.host_operations.append(Span(span.start, span.end, span.thread, kind, kind))
                eager = None

    def _add_graph_operation(self, span: Span, name: str, kind: str) -> None:
        if not _CONTAINER.match(kind):
            self.host_operations.append(Span(span.start, span.end, span.thread, name, kind, part_of(name)))

    def _add_xla_operations(self, launches: list[tuple[Span, Instruction]], ends: Mapping[str, list[int]]) -> None:
        """XLA's operations on the host: each lasts until its end event, which may be on another thread."""
        by_name: defaultdict[str, list[tuple[Span, Instruction]]] = defaultdict(list)
        for launch in launches:
            by_name[launch[0].name].append(launch)
        for name, mine in by_name.items():
            mine.sort(key=lambda launch: launch[0].start)
            later = sorted(ends.get(name, ()))
            limits = [*(launch[0].start for launch in mine[1:]), None]
            for (span, instruction), limit in zip(mine, limits, strict=True):
                self.xla_events += 1
                if instruction.is_container:
                    continue
                found = bisect_left(later, span.end)
                end = later[found] if found < len(later) and (limit is None or later[found] <= limit) else span.end
                # Operations that overlap on one thread run side by side, so each counts as a thread of its own.
                thread = -1 - len(self.host_operations)
                self.host_operations.append(
                    Span(span.start, end, thread, instruction.name, instruction.kind, instruction.part)
                )

    def _instruction(self, plane: Any, event: Any) -> Instruction | None:
        """The XLA instruction that an event runs, if it runs one."""
        if not event.stats:
            return None
        stats = _stats(plane, event)
        name = stats.get("hlo_op")
        if name is None:
            return None
        known = self.modules.get(str(stats.get("hlo_module")), {}).get(str(name))
        return known or Instruction(str(name).partition(".")[0], str(name), str(name).partition(".")[0], "")


def _spans(line: Any, names: Mapping[int, str]) -> Iterator[tuple[Span, Any]]:
    begin = line.timestamp_ns * 1000
    for event in line.events:
        start = begin + event.offset_ps
        yield Span(start, start + event.duration_ps, line.id, names.get(event.metadata_id, "")), event


def _stats(plane: Any, event: Any) -> dict[str, Any]:
    values = {}
    for stat in event.stats:
        kind = stat.WhichOneof("value")
        value = getattr(stat, kind) if kind else None
        name = plane.stat_metadata[stat.metadata_id].name
        values[name] = plane.stat_metadata[value].name if kind == "ref_value" else value
    return values
