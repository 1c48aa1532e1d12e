"""What is written for TensorBoard, read back by TensorBoard's own reader, which needs no TensorFlow either."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import (
    MEBIBYTE,
    ODD_NAMES,
    STARTED,
    make_case,
    make_failed,
    make_measurement,
    make_phases,
    make_run,
    make_traced,
)
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from stepbench.errors import StepbenchError
from stepbench.records.cases import EAGER, GRAPH, XLA
from stepbench.records.store import Run, slug
from stepbench.records.verify import Curve
from stepbench.records.verify import Test as Evaluation
from stepbench.report.summary import summarize
from stepbench.report.tensorboard import write_logdir

CURVES = (
    Curve(0, (2.5, 1.5, 0.5), (Evaluation(2, 1.25, 0.5), Evaluation(3, 0.75, 0.625))),
    Curve(7, (2.5, 1.25, None), (Evaluation(2, None, 0.25),)),
)
REFERENCE = make_measurement(make_case(EAGER), [0.2, 0.2], [0.2, 0.2])
TRAINED = msgspec.structs.replace(
    make_measurement(make_case(GRAPH, steps_per_call=8), [0.1, 0.1], [0.1, 0.1], phases=make_phases(3.0)), curves=CURVES
)
TRACED = make_traced(make_case(GRAPH, "mixed_bfloat16"))
BROKEN = make_failed(make_case(XLA), message="XLA said no.")
RUN = make_run(REFERENCE, TRAINED, TRACED, BROKEN)


@dataclass(frozen=True)
class Point:
    step: int
    value: Any


class Written:
    """The events below a folder, by the folder that their file is in."""

    def __init__(self, logdir: Path) -> None:
        self.by_folder = {
            str(path.parent.relative_to(logdir)): list(events_of(path)) for path in logdir.rglob("*tfevents*")
        }

    def points(self, folder: str) -> dict[str, list[Point]]:
        """What a folder has under each tag, as numbers or text."""
        found: dict[str, list[Point]] = {}
        for event in self.by_folder.get(folder, ()):
            for value in event.summary.value:
                content = tensor_util.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append(Point(event.step, content.item() if content.size else None))
        return found

    def plugin_data(self, tag: str) -> dict[str, Any]:
        """What plugins are told under a tag, by folder."""
        return {
            folder: value.metadata.plugin_data.content
            for folder, events in self.by_folder.items()
            for event in events
            for value in event.summary.value
            if value.tag == tag
        }


def events_of(path: Path) -> Iterator[Any]:
    """The events of a file; its checksums are verified."""
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        yield Event.FromString(reader.record())


def write(run: Run, logdir: Path) -> Written:
    write_logdir(run, summarize(run), logdir)
    return Written(logdir)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(RUN, tmp_path_factory.mktemp("tensorboard"))


def test_every_file_begins_as_tensorboard_expects_and_has_the_runs_time(written: Written) -> None:
    for events in written.by_folder.values():
        assert events[0].file_version == "brain.Event:2"
        assert {event.wall_time for event in events} == {STARTED.timestamp()}


def test_every_case_is_a_trial_that_says_what_it_is(written: Written) -> None:
    trials = {
        folder: metadata.parse_session_start_info_plugin_data(content)
        for folder, content in written.plugin_data(metadata.SESSION_START_INFO_TAG).items()
    }
    assert {folder: trial.group_name for folder, trial in trials.items()} == {
        slug(measurement.case.id): measurement.case.id for measurement in RUN.measurements
    }
    said = trials[slug(TRAINED.case.id)].hparams
    names = ("workload", "execution", "precision", "device", "converges")
    assert [said[name].string_value for name in names] == ["cnn", "graph", "float32", "cpu", "not checked"]
    assert (said["batch size"].number_value, said["steps per call"].number_value) == (64, 8)
    assert trials[slug(BROKEN.case.id)].hparams["converges"].string_value == "failed"


def metric_tags(written: Written) -> dict[str, str]:
    """The tags of the table's metrics, by the names that it shows."""
    ((_, content),) = written.plugin_data(metadata.EXPERIMENT_TAG).items()
    metrics = metadata.parse_experiment_plugin_data(content).metric_infos
    return {metric.display_name or metric.name.tag: metric.name.tag for metric in metrics}


def test_metrics_are_those_of_the_report_as_far_as_they_were_measured(written: Written) -> None:
    case = next(case for case in summarize(RUN).cases if case.id == TRAINED.case.id)
    assert case.throughput
    assert case.step_time_s
    assert case.speedup
    points = written.points(slug(case.id))
    found = {name: [point.value for point in points[tag]] for name, tag in metric_tags(written).items()}
    assert found == {
        "examples a second": [pytest.approx(case.throughput.value)],
        "ms a step": [pytest.approx(1e3 * case.step_time_s.value)],
        "speed-up": [pytest.approx(case.speedup.value)],
        "first call s": [3.0],
        "peak memory MiB": [50.0],
    }
    assert case.peak_memory_bytes == 50 * MEBIBYTE
    tags = metric_tags(written)
    assert not set(tags.values()) & set(written.points(slug(BROKEN.case.id)))
    assert set(tags.values()) <= set(written.points(slug(REFERENCE.case.id)))


def test_each_seeds_training_is_a_run_with_its_losses_and_evaluations_that_are_numbers(written: Written) -> None:
    folder = slug(TRAINED.case.id)
    assert written.points(f"{folder}/seed-0") == {
        "training/loss": [Point(1, 2.5), Point(2, 1.5), Point(3, 0.5)],
        "test/loss": [Point(2, 1.25), Point(3, 0.75)],
        "test/accuracy": [Point(2, 0.5), Point(3, 0.625)],
    }
    assert written.points(f"{folder}/seed-7") == {
        "training/loss": [Point(1, 2.5), Point(2, 1.25)],
        "test/accuracy": [Point(2, 0.25)],
    }
    assert {folder for folder in written.by_folder if "seed-" in folder} == {
        f"{slug(TRAINED.case.id)}/seed-{seed}" for seed in (0, 7)
    }


def texts(written: Written) -> list[str]:
    return [point.value.decode() for folder in written.by_folder for point in written.points(folder).get("summary", ())]


def test_the_report_is_there_as_text(written: Written) -> None:
    (text,) = texts(written)
    for words in ("graph/mixed_bfloat16", "graph/float32/k8", "XLA said no.", "where a step's milliseconds go", "10.0"):
        assert words in text


def files(logdir: Path) -> dict[Path, bytes]:
    return {path.relative_to(logdir): path.read_bytes() for path in logdir.rglob("*") if path.is_file()}


def test_writing_again_shows_what_was_measured_since_and_keeps_the_traces(tmp_path: Path) -> None:
    trace = tmp_path / "plugins" / "profile" / "session" / "vm.xplane.pb"
    trace.parent.mkdir(parents=True)
    trace.write_bytes(b"trace")
    before = write(make_run(REFERENCE, msgspec.structs.replace(TRAINED, curves=CURVES[:1])), tmp_path)
    after = write(make_run(REFERENCE, TRAINED, TRACED), tmp_path)
    once = files(tmp_path)
    write(make_run(REFERENCE, TRAINED, TRACED), tmp_path)
    assert files(tmp_path) == once
    assert set(after.by_folder) - set(before.by_folder) == {slug(TRACED.case.id), f"{slug(TRAINED.case.id)}/seed-7"}
    assert trace.read_bytes() == b"trace"


def test_a_run_that_measured_nothing_yet_is_written(tmp_path: Path) -> None:
    written = write(make_run(make_measurement(make_case()), finished=None), tmp_path)
    assert "not measured" in texts(written)[0]


def test_odd_names_are_told_as_they_are_and_stay_within_the_folder(tmp_path: Path) -> None:
    cases = {name: make_case(name, workload=name) for name in (*ODD_NAMES, "x" * 500)}
    run = make_run(REFERENCE, *(make_measurement(case, [0.1]) for case in cases.values()))
    content = write(run, tmp_path / "inner" / "logdir").plugin_data(metadata.SESSION_START_INFO_TAG)
    for name, case in cases.items():
        told = metadata.parse_session_start_info_plugin_data(content[slug(case.id)])
        assert told.hparams["execution"].string_value == name
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["logdir"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    logdir = tmp_path / "file" / "tensorboard"
    with pytest.raises(StepbenchError) as refused:
        write_logdir(RUN, summarize(RUN), logdir)
    assert str(refused.value) == f"{logdir} cannot be written (Not a directory): let its folder be written."


def test_a_cases_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / slug(TRAINED.case.id)).write_text("")
    with pytest.raises(StepbenchError, match=r"^.* cannot be written \(File exists\): let its folder be written\.$"):
        write_logdir(RUN, summarize(RUN), tmp_path)


WITHOUT_TENSORFLOW = """
import sys
from pathlib import Path
from test_tensorboard import RUN, write
written = write(RUN, Path(sys.argv[1]))
heavy = {name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras"}
sys.exit(f"it imports {heavy}" if heavy or not written.by_folder else 0)
"""


def test_writing_and_reading_import_no_tensorflow(tmp_path: Path) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)],
        env={"PYTHONPATH": f"{here}:{here.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
