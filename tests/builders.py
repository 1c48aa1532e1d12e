"""Cases, measurements and runs for tests: whatever is not asked for is innocent and passes its proof."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stepbench.records.cases import (
    BUILT_IN_EXECUTIONS,
    EAGER,
    GRAPH,
    KERAS,
    XLA,
    Case,
    Device,
    Plan,
    Precision,
    Tracing,
    Variant,
)
from stepbench.records.machine import Cpu, Environment, Host, Noise, Software
from stepbench.records.run import (
    Block,
    BlockMeasured,
    Closing,
    Event,
    Evidence,
    Failure,
    FailureKind,
    Measurement,
    Phases,
    Replicate,
    ReplicateEnded,
    ReplicateStarted,
)
from stepbench.records.store import Run, session_of
from stepbench.records.trace import Operation, Trace, TraceFacts

STEPS = 10
MEBIBYTE = 2**20
QUIET = Noise(steal_share=0.0, iowait_share=0.0, voluntary_switches=0, involuntary_switches=0)
ENVIRONMENT = Environment(
    host=Host(hostname="lab", system="Linux", architecture="x86_64"),
    cpu=Cpu(model="Test CPU", usable_cores=2.0, features=("avx2", "avx512_bf16", "avx512_fp16")),
    software=Software(python="3.11.7", packages={"tensorflow": "2.21.0"}),
)
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

ODD_NAMES = (
    "שלום-עולם",
    "مرحبا",
    "<script>alert(1)<script>",
    "\"double\" and 'single'",
    "a|b",
    "`code`",
    "\\|",
    "*bold* _it_ [link](x) ~~gone~~ #1",
    "&lt;",
    "[red]markup[red]",
    "速い",
    "🏎",
    "=1+1",
    "..",
)
"""Names that are allowed and that careless output would spoil."""


def make_case(execution: str = GRAPH, precision: str = "float32", **changes: Any) -> Case:
    case = Case("cnn", Variant(execution, Precision(precision)), Device.CPU, 64)
    return msgspec.structs.replace(case, **changes)


def make_cases(count: int, **changes: Any) -> tuple[Case, ...]:
    """The reference and variants of its group, ``count`` cases in all."""
    others = (make_case(f"variant-{number}", **changes) for number in range(1, count))
    return (make_case(EAGER, **changes), *others)


def make_block(round_number: int = 0, seconds: float = 0.15, **changes: Any) -> Block:
    return msgspec.structs.replace(Block(round_number, STEPS, seconds, 1.5, QUIET), **changes)


def make_phases(first_call_s: float = 1.0) -> Phases:
    return Phases(import_s=3.0, data_s=0.1, build_s=0.2, first_call_s=first_call_s, compile_s=0.0, warm_up_s=0.5)


def make_evidence(case: Case, **changes: Any) -> Evidence:
    """What an honest worker observes of ``case``."""
    execution = case.variant.execution
    compiled = execution in (GRAPH, XLA, KERAS)
    evidence = Evidence(
        claims=execution if execution in BUILT_IN_EXECUTIONS and execution != KERAS else None,
        traces=int(compiled),
        function_calls=int(compiled),
        xla_compilations=int(execution == XLA),
        compute_ops={{KERAS: GRAPH}.get(execution, execution): {case.variant.precision.compute_dtype: 12}},
        variable_dtypes=("float32",),
        devices=(case.device.value,),
        batch_size=case.batch_size,
        loss=2.3,
        settings={setting.name: setting.value for setting in case.settings},
    )
    return msgspec.structs.replace(evidence, **changes)


def make_closing(**changes: Any) -> Closing:
    closing = Closing(
        traces=0,
        xla_compilations=0,
        baseline_rss_bytes=400 * MEBIBYTE,
        peak_rss_bytes=450 * MEBIBYTE,
        device_peak_bytes=None,
    )
    return msgspec.structs.replace(closing, **changes)


def make_replicate(case: Case, block_seconds: Sequence[float], number: int = 0, **changes: Any) -> Replicate:
    """A replicate whose rounds 0, 1, … took ``block_seconds``."""
    blocks = tuple(make_block(round_number, seconds) for round_number, seconds in enumerate(block_seconds))
    replicate = Replicate(number, make_phases(), make_evidence(case), blocks, make_closing())
    return msgspec.structs.replace(replicate, **changes)


def make_measurement(case: Case, *block_seconds: Sequence[float], **changes: Any) -> Measurement:
    """One replicate for each of ``block_seconds``; ``changes`` are made in every replicate."""
    replicates = (make_replicate(case, seconds, number, **changes) for number, seconds in enumerate(block_seconds))
    return Measurement(case, tuple(replicates))


def make_operation(kind: str, seconds: float, part: str = "", **changes: Any) -> Operation:
    return msgspec.structs.replace(Operation(part, kind, kind, 1.0, seconds), **changes)


def make_facts(case: Case, settings: Tracing | None = None, **changes: Any) -> TraceFacts:
    """What is found in a good trace of ``case``."""
    settings = settings or Tracing()
    calls = settings.calls(case)
    in_xla = case.variant.execution == XLA
    facts = TraceFacts(
        cases=(case.id,),
        steps=tuple(range(calls + settings.left_out)),
        events=5000,
        problems=(),
        device_events=1000 * (case.device is Device.GPU),
        xla_events=1000 * in_xla,
        modules=int(in_xla),
        overview_steps=calls,
        tools={"trace_viewer@": None, "overview_page": None},
    )
    return msgspec.structs.replace(facts, **changes)


def make_trace(case: Case, *operations: Operation, **changes: Any) -> Trace:
    """A good trace of a step of 10 ms, or of ``operations``, which takes as long with the profiler off."""
    operations = operations or (
        make_operation("Conv2D", 0.006, "forward", name="forward/conv2d/convolution"),
        make_operation("(host)", 0.004, calls=0.0),
    )
    step_s = sum(operation.seconds for operation in operations)
    trace = Trace(
        path=session_of(case.id),
        facts=make_facts(case),
        step_s=step_s,
        untraced_step_s=step_s,
        operations=tuple(sorted(operations, key=lambda operation: -operation.seconds)),
    )
    return msgspec.structs.replace(trace, **changes)


def make_traced(
    case: Case, *operations: Operation, blocks: Sequence[Sequence[float]] = (), **changes: Any
) -> Measurement:
    """A case with a trace, to which ``changes`` are made; timed as long as it says, or in ``blocks``."""
    trace = make_trace(case, *operations, **changes)
    timed = make_measurement(case, *(blocks or [[STEPS * trace.untraced_step_s] * 2] * 3))
    return msgspec.structs.replace(timed, trace=trace)


def make_failed(case: Case, kind: FailureKind = FailureKind.ERROR, message: str = "It broke.") -> Measurement:
    return Measurement(case, failure=Failure(kind, message))


def make_plan(cases: Sequence[Case], **changes: Any) -> Plan:
    workloads = {case.workload: "cifar-cnn" for case in cases}
    plan = Plan(tuple(cases), workloads, "synthetic", replicates=2, rounds=3)
    return msgspec.structs.replace(plan, **changes)


def make_run(*measurements: Measurement, **changes: Any) -> Run:
    """A finished run that holds ``measurements``, planned with as many replicates as the first one has."""
    replicates = max(1, *(len(measurement.replicates) for measurement in measurements), 1)
    run = Run(
        run_id="20260102-030405-abcd",
        started=STARTED,
        finished=STARTED + timedelta(minutes=5),
        command=("stepbench", "run"),
        data="synthetic",
        environment=ENVIRONMENT,
        plan=make_plan([measurement.case for measurement in measurements], replicates=replicates),
        measurements=measurements,
    )
    return msgspec.structs.replace(run, **changes)


def make_events(case: Case, rounds: int, replicate: int = 0) -> list[Event]:
    """Everything that one undisturbed worker reports."""
    return [
        ReplicateStarted(case.id, replicate, make_phases(), make_evidence(case)),
        *(BlockMeasured(case.id, replicate, make_block(round_number)) for round_number in range(rounds)),
        ReplicateEnded(case.id, replicate, make_closing()),
    ]
