"""Does a case run as it claims? Judged from the evidence that its worker gathered.

A case whose proof fails is a failed case, not a number.
"""

from __future__ import annotations

from stepbench.records.cases import EAGER, FEWEST_CALLS, GRAPH, XLA, Case, Device, Precision, Tracing
from stepbench.records.run import Block, Closing, Evidence, Failure, FailureKind
from stepbench.records.trace import MOST_EVENTS, Trace, TraceFacts


def judge_start(case: Case, evidence: Evidence) -> Failure | None:
    """The failure that the evidence gathered before the first block shows, if any."""
    if evidence.loss is None:
        return non_finite("the first step")
    complaints = [
        *_batch_size(case, evidence),
        *_placement(case, evidence),
        *_variables(evidence),
        *_execution(case, evidence),
        *_compute_dtype(case, evidence),
        *_settings(case, evidence),
    ]
    return Failure(FailureKind.NOT_PROVED, "; ".join(complaints) + ".") if complaints else None


def judge_end(closing: Closing) -> Failure | None:
    """The failure that shows only once the blocks were timed, if any."""
    if not closing.finite_variables:
        return Failure(FailureKind.NON_FINITE, "A variable is NaN or infinite after the last block.")
    complaints = []
    if closing.traces:
        complaints.append(
            f"the step was traced again while it was timed ({closing.traces} times): "
            "give it tensors of one shape and dtype, no Python numbers, and make no tf.function inside it"
        )
    if closing.xla_compilations:
        complaints.append(f"XLA compiled again while the step was timed ({closing.xla_compilations} times)")
    return Failure(FailureKind.NOT_PROVED, "; ".join(complaints) + ".") if complaints else None


def judge_block(block: Block) -> Failure | None:
    """The failure that a block's loss shows, if any."""
    return non_finite(f"{block.steps} steps") if block.loss is None else None


def judge_trace(case: Case, trace: Trace, settings: Tracing, claims: str | None) -> Failure | None:
    """The failure of a trace that a reviewer could not rely on, if any."""
    if trace.facts.events > MOST_EVENTS:
        found = f"it holds {trace.facts.events} events, and viewers show at most {MOST_EVENTS}"
        # Another process would find as many, so this is not said to be a want of proof, which is worth another try.
        return Failure(FailureKind.UNSUPPORTED, f"The trace: {found}: trace fewer --steps.")
    complaints = [
        *_traced_steps(case, trace.facts, settings),
        *_traced_events(case, trace.facts, claims),
        *_viewer_tools(trace.facts),
    ]
    return Failure(FailureKind.NOT_PROVED, "The trace: " + "; ".join(complaints) + ".") if complaints else None


def _traced_steps(case: Case, facts: TraceFacts, settings: Tracing) -> list[str]:
    if not facts.steps:
        return ["it marks no steps"]
    if facts.cases != (case.id,):
        return [f"its steps belong to {', '.join(facts.cases) or 'no case'}, not to {case.id}"]
    wanted = settings.calls(case) if facts.asked is None else max(FEWEST_CALLS, facts.asked)
    marked = len(facts.steps) - settings.left_out
    complaints = []
    if marked != wanted:
        complaints.append(f"it holds {max(0, marked)} whole steps, not {wanted}")
    if facts.overview_steps != wanted:
        complaints.append(f"its overview shows {facts.overview_steps} steps, not {wanted}")
    return complaints


def _traced_events(case: Case, facts: TraceFacts, claims: str | None) -> list[str]:
    complaints = [f"the profiler says: {problem}" for problem in facts.problems]
    if case.device is Device.GPU and not facts.device_events:
        complaints.append(
            "it shows nothing of the GPU: let users profile it (the driver's option "
            "NVreg_RestrictProfilingToAdminUsers=0), and check that CUPTI is installed"
        )
    if claims == XLA and not (facts.xla_events and facts.modules):
        complaints.append("it shows no XLA module, though the case is to run in XLA")
    return complaints


def _viewer_tools(facts: TraceFacts) -> list[str]:
    if not facts.tools:
        return ["the viewer offers no tool for it: install versions of xprof and TensorFlow that fit together"]
    return [f"the viewer's {tool} cannot show it ({why})" for tool, why in facts.tools.items() if why]


def non_finite(after: str) -> Failure:
    """The failure of a loss that is NaN or infinite."""
    return Failure(FailureKind.NON_FINITE, f"The loss is NaN or infinite after {after}.")


def partly_other_dtypes(case: Case, evidence: Evidence) -> dict[str, int]:
    """Convolutions and matrix products of a step outside the claimed compute dtype: dtype → count."""
    wanted = case.variant.precision.compute_dtype
    return {dtype: count for dtype, count in _dtype_counts(evidence).items() if dtype != wanted}


def _batch_size(case: Case, evidence: Evidence) -> list[str]:
    if evidence.batch_size == case.batch_size:
        return []
    return [f"the step was fed {evidence.batch_size} examples, not {case.batch_size}"]


def _placement(case: Case, evidence: Evidence) -> list[str]:
    elsewhere = [device for device in evidence.devices if device != case.device]
    return [f"variables or loss lie on {', '.join(elsewhere)}, not on {case.device}"] if elsewhere else []


def _variables(evidence: Evidence) -> list[str]:
    half = [dtype for dtype in evidence.variable_dtypes if dtype in ("float16", "bfloat16")]
    return [f"trainable variables are kept in {', '.join(half)}, not in float32"] if half else []


def _execution(case: Case, evidence: Evidence) -> list[str]:
    """Judge the claim (eager, graph or xla) by where the step's products ran."""
    ran_in = set(evidence.compute_ops)
    complaints = []
    if evidence.claims == EAGER and _runs_compiled(evidence):
        complaints.append("it claims to be eager, but the step runs inside compiled functions")
    if evidence.claims in (GRAPH, XLA) and not evidence.function_calls:
        complaints.append(f"it claims to be {evidence.claims}, but calls no compiled function")
    elif evidence.claims in (GRAPH, XLA) and EAGER in ran_in:
        complaints.append(f"it claims to be {evidence.claims}, but some of its products run eagerly")
    if evidence.claims == XLA and not evidence.xla_compilations:
        complaints.append("it claims to be xla, but XLA compiled nothing")
    elif evidence.claims == XLA and GRAPH in ran_in:
        complaints.append("it claims to be xla, but some of its products run outside of XLA")
    if case.variant.execution in (GRAPH, XLA) and evidence.traces > 1:
        complaints.append(f"the first call traced the step {evidence.traces} times, not once")
    if case.variant.execution == GRAPH and XLA in ran_in:
        complaints.append("it is to run as a graph, but was compiled by XLA")
    return complaints


def _runs_compiled(evidence: Evidence) -> bool:
    """Whether the step, not just a layer of it, is compiled: its updates are made inside of functions too."""
    if evidence.compiles_itself:  # There is no other way to run it; reports say so.
        return False
    outside = set(evidence.compute_ops) - {EAGER}
    return bool(outside) and not evidence.eager_updates


def _compute_dtype(case: Case, evidence: Evidence) -> list[str]:
    wanted = case.variant.precision.compute_dtype
    counts = _dtype_counts(evidence)
    other = partly_other_dtypes(case, evidence)
    total = sum(counts.values())
    if case.variant.precision is Precision.FLOAT32 and other:
        return [f"{sum(other.values())} of {total} products run in {', '.join(other)}, not in float32"]
    if counts and wanted not in counts:
        return [f"all {total} products run in {', '.join(counts)}, none in {wanted}"]
    return []


def _settings(case: Case, evidence: Evidence) -> list[str]:
    found = {setting: evidence.settings.get(setting.name, "") for setting in case.settings}
    return [
        f"it is to run with {setting}, but {f'{setting.name} is {is_now}' if is_now else 'there is no trace of that'}"
        for setting, is_now in found.items()
        if is_now != setting.value
    ]


def _dtype_counts(evidence: Evidence) -> dict[str, int]:
    counts: dict[str, int] = {}
    for by_dtype in evidence.compute_ops.values():
        for dtype, count in by_dtype.items():
            counts[dtype] = counts.get(dtype, 0) + count
    return counts
