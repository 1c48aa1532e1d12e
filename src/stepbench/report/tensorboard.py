"""A run as TensorBoard shows it: the cases as hparams, the trainings as scalars, the report as text.

The files are written without TensorFlow, which TensorBoard's own writers load. The traces lie beside them already.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from stepbench.errors import StepbenchError
from stepbench.judge.training import figures_of
from stepbench.records.run import Measurement
from stepbench.records.store import Run, slug
from stepbench.records.verify import Curve
from stepbench.report.case_summary import CaseSummary
from stepbench.report.report import chapters
from stepbench.report.summary import Summary
from stepbench.report.text import as_text

EVENTS_FILE = "events.out.tfevents.0.stepbench"
FILE_VERSION = "brain.Event:2"
STATISTICS_FILE, STATISTICS_VERSION_FILE = "ALL_HOSTS.op_stats_v2.pb", "cache_version.txt"
"""What the profile plugin keeps of a trace that it converted, and the file that says by which version of it."""

METRICS: dict[str, Callable[[CaseSummary], float | None]] = {
    "examples a second": lambda case: case.throughput.value if case.throughput else None,
    "ms a step": lambda case: 1e3 * case.step_time_s.value if case.step_time_s else None,
    "speed-up": lambda case: case.speedup.value if case.speedup else None,
    "first call s": lambda case: case.first_call_s,
    "peak memory MiB": lambda case: case.peak_memory_bytes / 2**20 if case.peak_memory_bytes is not None else None,
}
"""What the table of hparams shows of each case, beside what the case is."""
METRICS_GROUP = "values"
"""Their heading among the charts, which are in order of the alphabet: after ``test`` and ``training``."""

AXES: dict[str, Callable[[CaseSummary], str | int]] = {
    "execution": lambda case: case.execution,
    "precision": lambda case: str(case.precision),
    "converges": lambda case: "failed" if case.failure else case.equivalence.verdict.replace("_", " "),
    "workload": lambda case: case.workload,
    "device": lambda case: str(case.device),
    "batch size": lambda case: case.batch_size,
    "steps per call": lambda case: case.steps_per_call,
    "settings": lambda case: " ".join(f"{name}={value}" for name, value in case.settings.items()),
}
"""What a case is."""
ALWAYS_SHOWN = ("execution", "precision", "converges")
"""The others are shown where the cases differ in them: the table has little room."""


def has_content(run: Run) -> bool:
    """Whether there is anything of ``run`` to be seen."""
    return any(
        found.trace or found.curves or found.agreement or any(replicate.blocks for replicate in found.replicates)
        for found in run.measurements
    )


def write_logdir(run: Run, summary: Summary, logdir: Path) -> None:
    """Write what TensorBoard is to show of ``run`` below ``logdir``, over what was written before.

    Raises:
        StepbenchError: when it cannot be written.
    """
    measurements = {measurement.case.id: measurement for measurement in run.measurements}
    started = run.started.timestamp()
    try:
        about_all = [text_pb("summary", _report(summary)), _experiment(summary.cases)]
        _write_events(logdir / slug(run.run_id), [(0, started, summary_pb) for summary_pb in about_all])
        for case in summary.cases:
            folder = logdir / slug(case.id)
            _write_events(folder, [(0, started, summary_pb) for summary_pb in _case_summaries(case, started)])
            _write_curves(folder, measurements[case.id], started)
            if case.trace:
                mark_as_training(logdir.parent / case.trace, run.environment.software.packages.get("xprof"))
    except OSError as error:
        raise StepbenchError(f"{logdir} cannot be written ({error.strerror}): let its folder be written.") from error


def _report(summary: Summary) -> str:
    """The report as a block of code: TensorBoard breaks the words in a table's cells, and aligns no figures."""
    return textwrap.indent(as_text(chapters(summary)), "    ")


def _experiment(cases: Sequence[CaseSummary]) -> Any:
    axes = []
    for name, read in AXES.items():
        values = sorted({read(case) for case in cases})
        if name in ALWAYS_SHOWN or len(values) > 1:
            axes.append(hparams.HParam(name, hparams.Discrete(values)))
    metrics = [hparams.Metric(_tag(name), display_name=name) for name in METRICS]
    return hparams.hparams_config_pb(axes, metrics, time_created_secs=0)


def _tag(metric: str) -> str:
    return f"{METRICS_GROUP}/{metric}"


def _case_summaries(case: CaseSummary, started: float) -> Iterable[Any]:
    values = {name: read(case) for name, read in AXES.items()}
    yield hparams.hparams_pb(values, trial_id=case.id, start_time_secs=started)
    for name, read in METRICS.items():
        value = read(case)
        if value is not None:
            yield scalar_pb(_tag(name), value)


def mark_as_training(session: Path, converted_by: str | None) -> None:
    """Have the profile plugin's overview show how long the traced steps took.

    It does so for trainings only, which it knows by gradients in an XLA module: of eager steps and graphs it would show
    their parts alone. So what it kept of the conversion right after the capture is made to say that it is a training.

    Args:
        session: the folder of the trace.
        converted_by: the version of ``xprof`` that converted it.

    Raises:
        OSError: when what it kept cannot be read or written.
    """
    from xprof.protobuf.op_stats_pb2 import OpStats

    kept, version = session / STATISTICS_FILE, session / STATISTICS_VERSION_FILE
    if not kept.exists():
        return
    try:
        statistics = OpStats.FromString(kept.read_bytes())
    except DecodeError:
        kept.unlink()  # The plugin was stopped while it wrote: let it convert the trace again.
        return
    if not statistics.run_environment.is_training:
        statistics.run_environment.is_training = True
        kept.write_bytes(statistics.SerializeToString())
    if converted_by and not version.exists():
        version.write_text(converted_by)  # Without it the plugin would convert the trace again.


def _write_curves(folder: Path, measurement: Measurement, started: float) -> None:
    for curve in measurement.curves:
        _write_events(folder / f"seed-{curve.seed}", [(step, started, summary) for step, summary in _points(curve)])


def _points(curve: Curve) -> Iterable[tuple[int, Any]]:
    for step, loss in enumerate(curve.losses, 1):
        if loss is not None:
            yield step, scalar_pb("training/loss", loss)
    for test in curve.tests:
        if test.loss is not None:
            yield test.step, scalar_pb("test/loss", test.loss)
        for name, value in figures_of(test).items():
            if value is not None:
                yield test.step, scalar_pb(f"test/{name}", value)


def _write_events(folder: Path, summaries: Sequence[tuple[int, float, Any]]) -> None:
    """Write step, time in seconds since 1970 and summary of each event to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENTS_FILE).open("wb") as file:
        writer = RecordWriter(file)
        first = summaries[0][1] if summaries else 0
        writer.write(Event(wall_time=first, file_version=FILE_VERSION).SerializeToString())
        for step, wall_time, summary in summaries:
            writer.write(Event(step=step, wall_time=wall_time, summary=summary).SerializeToString())
