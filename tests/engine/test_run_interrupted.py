"""One run of fake workers that is interrupted, killed and twice resumed, through the command line."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import faking
import msgspec
import psutil
import pytest
from processes import soon, workers_of

from stepbench.engine.rounds import blocks_of_a_round
from stepbench.records.run import Block, BlockMeasured, Event
from stepbench.records.store import JOURNAL_FILE, Run, Store, session_of

EXECUTIONS = ("eager", "graph")
REPLICATES = 2
ROUNDS = 12  # So many that a busy machine notices before the last one that the first ones are done.
LONG_S = 300

Blocks = list[tuple[str, int, Block]]


@dataclass(frozen=True)
class Stopped:
    """A command that a signal ended while it measured."""

    exit_code: int
    errors: str
    stopped_workers: int
    """Of those that it had when the signal was sent."""
    survivors: list[psutil.Process]
    """Workers that were left 2 s later."""
    journal: Blocks


@dataclass(frozen=True)
class Story:
    """The same run, from its start to its end."""

    interrupted: Stopped
    killed: Stopped
    exit_code: int
    folder: Path
    run: Run


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    results = tmp_path_factory.mktemp("results")
    start = (
        *("--workload", faking.WORKLOAD, "--execution", ",".join(EXECUTIONS)),
        *("--precision", "float32", "--device", "cpu", "--batch-size", "16", "--data", "synthetic"),
        *("--replicates", str(REPLICATES), "--rounds", str(ROUNDS), "--no-input-pipeline", "--no-verify"),
    )
    # Where Ctrl-C is ignored, as in a shell's background jobs, children would ignore it too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupted = stop_in_the_middle(results, start, signal.SIGINT)
        run_id = Store(results).read().run_id
        killed = stop_in_the_middle(results, ("--resume", run_id), signal.SIGKILL)
        with command(results, ("--resume", run_id)) as process:
            process.communicate(timeout=LONG_S)
    finally:
        signal.signal(signal.SIGINT, before)
    return Story(interrupted, killed, process.returncode, results / run_id, Store(results).read(run_id))


def command(results: Path, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    return faking.command("run", *arguments, "--results", str(results))


def stop_in_the_middle(results: Path, arguments: tuple[str, ...], number: signal.Signals) -> Stopped:
    """Send the signal once a round or two more are on disk, when more rounds remain."""
    wanted = len(journal_of(results)) + 2 * len(EXECUTIONS)
    with command(results, arguments) as process:
        assert soon(lambda: len(journal_of(results)) >= wanted or process.poll() is not None, LONG_S)
        process.send_signal(signal.SIGSTOP)  # On a busy machine it would be rounds further before all are looked at.
        workers = workers_of(process.pid)
        stopped = sum(worker.status() == psutil.STATUS_STOPPED for worker in workers)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        soon(lambda: not workers_of(process.pid), 2)
        survivors = workers_of(process.pid)
        _, errors = process.communicate(timeout=LONG_S)
    return Stopped(process.returncode, errors, stopped, survivors, journal_of(results))


def journal_of(results: Path) -> Blocks:
    """The blocks on disk, of the lines that are whole."""
    text = b"".join(path.read_bytes() for path in results.glob(f"2*/{JOURNAL_FILE}"))
    events = (msgspec.json.decode(line, type=Event) for line in text[: text.rfind(b"\n") + 1].splitlines())
    return [(event.case, event.replicate, event.block) for event in events if isinstance(event, BlockMeasured)]


def blocks_of(run: Run) -> Blocks:
    return [
        (measurement.case.id, replicate.number, block)
        for measurement in run.measurements
        for replicate in measurement.replicates
        for block in replicate.blocks
    ]


def test_an_interrupted_run_says_in_one_line_how_to_go_on_and_a_killed_one_nothing(story: Story) -> None:
    assert story.interrupted.exit_code == 130
    (line,) = story.interrupted.errors.splitlines()
    assert f"--resume {story.folder.name}" in line
    assert story.killed.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_workers_were_stopped_none_survives_and_what_was_measured_is_kept(story: Story, end: str) -> None:
    ended: Stopped = getattr(story, end)
    assert ended.stopped_workers >= len(EXECUTIONS) - 1
    assert ended.survivors == []
    after = blocks_of(story.run)
    assert all(block in after for block in ended.journal)


def test_each_command_measures_a_part_and_nothing_again(story: Story) -> None:
    parts = (len(story.interrupted.journal), len(story.killed.journal), len(blocks_of(story.run)))
    assert 0 < parts[0] < parts[1] < parts[2]
    keys = Counter((case, replicate, block.round) for case, replicate, block in blocks_of(story.run))
    planned = Counter(case.id for case in blocks_of_a_round(story.run.plan.cases))
    assert all(count <= planned[case] for (case, *_), count in keys.items())
    rounds = Counter((replicate, number) for _, replicate, number in keys)
    # Ctrl-C may have cut a round short; the blocks it had are kept beside the planned ones.
    whole = [key for key, cases in rounds.items() if cases == len(EXECUTIONS)]
    assert len(whole) == REPLICATES * ROUNDS
    assert len(rounds) - len(whole) <= 1


def test_fresh_processes_continue_under_numbers_of_their_own(story: Story) -> None:
    for measurement in story.run.measurements:
        numbers = [replicate.number for replicate in measurement.replicates]
        # Two processes were cut short, both of the first planned replicate; odd numbers are the second's.
        assert sorted(numbers) == [0, 1, 2, 4]
        closed = {replicate.number: replicate.closing is not None for replicate in measurement.replicates}
        assert closed == {0: False, 2: False, 4: True, 1: True}


def test_the_resumed_run_is_complete_and_each_case_traced_unasked(story: Story) -> None:
    assert story.exit_code == 0
    assert story.run.finished is not None
    assert all(measurement.failure is None for measurement in story.run.measurements)
    assert not (story.folder / JOURNAL_FILE).exists()
    for measurement in story.run.measurements:
        assert measurement.trace is not None
        assert measurement.trace.path == session_of(measurement.case.id)
        assert len(list((story.folder / measurement.trace.path).glob("*.xplane.pb"))) == 1
    replicates = [replicate for measurement in story.run.measurements for replicate in measurement.replicates]
    assert all(replicate.closing is None or replicate.closing.input_wait is None for replicate in replicates)


def test_an_interruption_before_the_first_block_is_no_traceback(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with command(tmp_path, ("--workload", faking.WORKLOAD, "--data", "synthetic")) as process:
            assert soon(lambda: bool(workers_of(process.pid)) or process.poll() is not None, LONG_S)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LONG_S)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert soon(lambda: workers_of(process.pid) == [], 2)
