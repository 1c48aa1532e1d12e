"""One innocent run of the tiny workload, all of whose numbers and evidence are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import places
import psutil
import pytest

from stepbench.commands.plan import Planned, make_plan
from stepbench.commands.request import Request
from stepbench.commands.run import measure_run, start_run
from stepbench.engine.rounds import REFERENCE_BLOCKS
from stepbench.records.cases import EAGER, GRAPH, KERAS, XLA, Case, Device, Precision, Variant
from stepbench.records.progress import Progress
from stepbench.records.run import Closing, Evidence, Replicate
from stepbench.records.store import JOURNAL_FILE, LOGS_FOLDER, Run, Store

pytestmark = pytest.mark.tensorflow

BATCH_SIZE = 16
ROUNDS = 3
PRODUCTS = 5
"""Of a step: two layers forward, two gradients of weights, and one of activations."""
MULTIPLY_ADDS = 2 * (8 * 16 + 16 * 3) + 16 * 3
"""Of them for one example: both layers forward and their weights' gradients, and the gradient between."""
ASSESSED = 2
"""Afterwards: the device, and the workload."""

CASES = {
    "eager": (EAGER, Precision.FLOAT32, 1),
    "graph": (GRAPH, Precision.FLOAT32, 1),
    "xla": (XLA, Precision.FLOAT32, 1),
    "keras": (KERAS, Precision.FLOAT32, 1),
    "graph-bfloat16": (GRAPH, Precision.MIXED_BFLOAT16, 1),
    "xla-k4": (XLA, Precision.FLOAT32, 4),
}
COMPILED = [name for name, (execution, *_) in CASES.items() if execution == XLA]
MIXED = [name for name, (_, precision, _) in CASES.items() if precision is not Precision.FLOAT32]


@dataclass(frozen=True)
class Measured:
    """The run, and how it came about."""

    planned: Planned
    run: Run
    folder: Path
    progress: list[Progress]
    survivors: set[psutil.Process]

    def replicate(self, name: str) -> Replicate:
        """The one replicate of a case."""
        execution, precision, steps = CASES[name]
        case = Case("tiny", Variant(execution, precision), Device.CPU, BATCH_SIZE, steps)
        (found,) = next(measured.replicates for measured in self.run.measurements if measured.case == case)
        return found

    def evidence(self, name: str) -> Evidence:
        """What was observed of a case before its first block."""
        return self.replicate(name).evidence

    def closing(self, name: str) -> Closing:
        """What a case's worker reported at its end."""
        closing = self.replicate(name).closing
        assert closing is not None
        return closing


def workers() -> set[psutil.Process]:
    """Of this process: those forked from a process that stays, which forks the next run's, and those started."""
    children = set(psutil.Process().children(recursive=True))
    return {
        child
        for child in children
        if not any("fork_server" in part for part in child.cmdline()) or child.parent() in children
    }


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    request = Request(
        workloads=(f"{places.TINY}:workload",),
        executions=(EAGER, GRAPH, XLA, KERAS),
        batch_sizes=(BATCH_SIZE,),
        steps_per_call=(1, 4),
        devices=(Device.CPU,),
        data="synthetic",
        replicates=1,
        rounds=ROUNDS,
    )
    planned = make_plan(request)
    chosen = tuple(
        case
        for case in planned.plan.cases
        if (case.variant.execution, case.variant.precision, case.steps_per_call) in CASES.values()
    )
    fewer = msgspec.structs.replace(planned.plan, cases=chosen)
    store = Store(tmp_path_factory.mktemp("results"))
    progress: list[Progress] = []
    others = workers()
    run = measure_run(start_run(Planned(fewer, planned.data), store), store, progress.append)
    return Measured(planned, run, store.folder(run.run_id), progress, workers() - others)


def test_every_case_is_measured_and_the_run_on_disk_is_the_one_given_back(measured: Measured) -> None:
    assert list(measured.planned.plan.workloads) == ["tiny"]
    assert measured.planned.data == "synthetic"
    assert len(measured.run.measurements) == len(CASES)
    assert [measurement.failure for measurement in measured.run.measurements] == [None] * len(CASES)
    assert measured.run.finished is not None
    assert Store(measured.folder.parent).read() == measured.run
    assert not (measured.folder / JOURNAL_FILE).exists()


def test_every_worker_has_a_log_of_its_own_and_none_is_left(measured: Measured) -> None:
    assert measured.survivors == set()
    logs = {log.name for log in (measured.folder / LOGS_FOLDER).iterdir()}
    assert "cpu.assess.log" in logs
    assert len(logs) == len(CASES) + 1


def test_progress_counts_the_blocks(measured: Measured) -> None:
    planned = (len(CASES) - 1 + REFERENCE_BLOCKS) * ROUNDS
    counts = [state.done for state in measured.progress if state.total == planned]
    assert len(measured.progress) - len(counts) == ASSESSED
    assert counts == sorted(counts)
    assert counts[-1] == planned


def test_each_round_has_one_block_of_each_case_and_several_of_the_reference(measured: Measured) -> None:
    for name in CASES:
        blocks = measured.replicate(name).blocks
        times = REFERENCE_BLOCKS if name == "eager" else 1
        assert [block.round for block in blocks] == [number for number in range(ROUNDS) for _ in range(times)], name


def test_every_block_is_whole_calls_from_the_same_state_alone_on_the_machine(measured: Measured) -> None:
    for name, (*_, steps_per_call) in CASES.items():
        blocks = measured.replicate(name).blocks
        (steps,) = {block.steps for block in blocks}
        assert steps % steps_per_call == 0, name
        # Keras gives the running mean of the loss, whose state is restored as well.
        assert len({block.loss for block in blocks}) == 1, name
        for block in blocks:
            assert block.seconds > 0, name
            # The kernel counts in hundredths of a second.
            assert abs(block.leaked_cpu_s) <= 0.02, name
            assert block.noise.steal_share is not None, name
            assert block.noise.involuntary_switches is not None, name


def test_a_block_trains_and_all_cases_start_from_the_same_weights(measured: Measured) -> None:
    for name in ("graph", "xla", "xla-k4"):  # The others are slow enough for a block of a few steps.
        first = measured.evidence(name).loss
        assert first is not None
        assert all(block.loss is not None and block.loss < first for block in measured.replicate(name).blocks), name
    first = measured.evidence("eager").loss
    for name in set(CASES) - set(MIXED) - {"xla-k4"}:  # Whose first call ends later.
        assert measured.evidence(name).loss == pytest.approx(first, rel=1e-5), name


def test_the_products_of_a_step_run_where_it_claims_once_traced(measured: Measured) -> None:
    for name in CASES:
        evidence, closing = measured.evidence(name), measured.closing(name)
        is_compiled = name != "eager"
        assert (evidence.traces, evidence.function_calls) == (is_compiled, is_compiled), name
        assert (closing.traces, closing.xla_compilations) == (0, 0), name
        assert (evidence.batch_size, evidence.devices) == (BATCH_SIZE, ("cpu",)), name
    assert measured.evidence("eager").compute_ops == {"eager": {"float32": PRODUCTS}}
    assert measured.evidence("graph").compute_ops == {"graph": {"float32": PRODUCTS}}
    assert measured.evidence("graph").claims == GRAPH
    for name in COMPILED:
        evidence = measured.evidence(name)
        assert evidence.xla_compilations >= 1, name
        assert (set(evidence.compute_ops), evidence.claims) == ({XLA}, XLA), name
    evidence = measured.evidence("keras")
    assert evidence.claims == GRAPH
    assert "eager" not in evidence.compute_ops
    # Keras itself chooses between the two.
    assert (XLA in evidence.compute_ops) == (evidence.xla_compilations > 0)


def test_mixed_precision_computes_in_half_and_keeps_variables_in_full(measured: Measured) -> None:
    for name in MIXED:
        evidence = measured.evidence(name)
        half = CASES[name][1].compute_dtype
        counts = [by_dtype for by_dtype in evidence.compute_ops.values() if half in by_dtype]
        # The layer that gives the logits is float32.
        assert [by_dtype[half] for by_dtype in counts] == [2], name
        assert evidence.variable_dtypes == ("float32",), name


def test_phases_memory_and_the_wait_for_input_are_read(measured: Measured) -> None:
    for name in CASES:
        phases = measured.replicate(name).phases
        timed = (phases.import_s, phases.data_s, phases.build_s, phases.first_call_s, phases.warm_up_s)
        assert min(timed) > 0, name
        assert (phases.compile_s > 0) == (XLA in measured.evidence(name).compute_ops), name
        assert phases.compile_s < phases.first_call_s, name
    for name in CASES:
        closing = measured.closing(name)
        assert 0 < closing.baseline_rss_bytes < closing.peak_rss_bytes, name
        assert closing.device_peak_bytes is None, name
        assert list(closing.peaks_bytes) == ["build", "first call", "steps"], name
        assert max(closing.peaks_bytes.values()) == closing.peak_rss_bytes - closing.baseline_rss_bytes, name
    for name, (*_, steps_per_call) in CASES.items():
        waited = measured.closing(name).input_wait
        assert waited is not None
        assert waited.steps >= steps_per_call, name
        assert 0 < waited.wait_s < waited.seconds, name


def test_each_cases_work_is_counted_and_the_device_measured_in_their_dtypes(measured: Measured) -> None:
    assert {found.work and found.work.flops for found in measured.run.measurements} == {2 * BATCH_SIZE * MULTIPLY_ADDS}
    (device,) = measured.run.attainable
    assert set(device.flops) == {"float32", "bfloat16"}
    assert min(*device.flops.values(), device.bandwidth) > 0
