from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from builders import make_events
from stored import FINISHED, GRAPH, PLAN, XLA, FullDisk, begin, journal, journal_on_a_full_disk, refusal_of

from stepbench.errors import StepbenchError
from stepbench.records.run import CaseFailed, Failure, FailureKind, assemble
from stepbench.records.store import Journal, Store


def test_the_journal_of_an_unfinished_run_is_folded_in(store: Store) -> None:
    run = begin(store)
    failure = CaseFailed(XLA.id, 0, Failure(FailureKind.TIMEOUT, "It gave no answer."))
    events = [*make_events(GRAPH, 3), *make_events(XLA, 1)[:-1], failure]
    journal(store, run, events)
    assert store.read(run.run_id).measurements == assemble(PLAN.cases, events)
    assert store.read(run.run_id).measurements[1].failure == failure.failure


def test_events_are_on_disk_once_the_journal_is_synced(store: Store) -> None:
    run = begin(store)
    with Journal(store.folder(run.run_id)) as opened:
        opened.append(make_events(GRAPH, 0)[0])
        opened.sync()
        (measurement, _) = store.read(run.run_id).measurements
    assert len(measurement.replicates) == 1


def test_a_continued_journal_keeps_what_it_held(store: Store) -> None:
    run = begin(store)
    events = make_events(GRAPH, 4)
    journal(store, run, events[:2])
    journal(store, run, events[2:])
    assert store.read(run.run_id).measurements == assemble(PLAN.cases, events)


def test_two_processes_never_write_one_journal(store: Store) -> None:
    run = begin(store)
    folder = store.folder(run.run_id)
    with Journal(folder) as opened:
        opened.append(make_events(GRAPH, 0)[0])
        with pytest.raises(StepbenchError, match=f"^Another process measures run {run.run_id} now: wait for it"):
            Journal(folder)
    with Journal(folder):  # Whoever ended let go of it.
        assert store.read(run.run_id).measurements[0].replicates


@pytest.mark.parametrize("cut", [b"{", b'{"type":"block","case":"cnn', b"\xff\xfe", b"\0" * 64])
def test_a_last_line_that_was_cut_off_is_tolerated(store: Store, cut: bytes) -> None:
    run = begin(store)
    events = make_events(GRAPH, 2)
    path = journal(store, run, events[:-1])
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(cut)
    assert store.read(run.run_id).measurements == assemble(PLAN.cases, events[:-1])
    journal(store, run, events[-1:])
    assert path.read_bytes() == whole + msgspec.json.encode(events[-1]) + b"\n"
    assert store.read(run.run_id).measurements == assemble(PLAN.cases, events)


def test_a_journal_cut_off_anywhere_is_read_up_to_its_last_whole_line(store: Store) -> None:
    run = begin(store)
    events = make_events(GRAPH, 1)
    path = journal(store, run, events)
    whole = path.read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        assert store.read(run.run_id).measurements == assemble(PLAN.cases, events[:lines])


@pytest.mark.parametrize("line", [b"{", b"", b"\xff", b"[]", b'{"type":"block","case":"x","replicate":0}'])
def test_a_damaged_line_in_the_middle_is_refused(store: Store, line: bytes) -> None:
    run = begin(store)
    path = journal(store, run, make_events(GRAPH, 2))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[3:], b""]))
    assert f"{path} is damaged" in refusal_of(store, run.run_id)


def test_a_journal_that_lost_its_beginning_is_refused(store: Store) -> None:
    run = begin(store)
    path = journal(store, run, make_events(GRAPH, 2)[1:])
    assert f"{path} is damaged" in refusal_of(store, run.run_id)


def test_the_journal_of_a_finished_run_that_could_not_be_removed_is_ignored(store: Store) -> None:
    store.write(FINISHED)
    journal(store, FINISHED, make_events(GRAPH, 1))
    assert store.read(FINISHED.run_id) == FINISHED


def test_a_finished_run_has_no_journal_and_an_unfinished_one_keeps_it(store: Store) -> None:
    run = begin(store)
    path = journal(store, run, make_events(GRAPH, 3))
    store.write(run)
    assert path.exists()
    run = begin(store)
    path = journal(store, run, make_events(GRAPH, 3))
    read = store.read(run.run_id)
    store.write(msgspec.structs.replace(read, finished=FINISHED.finished))
    assert not path.exists()
    assert store.read(run.run_id).measurements == read.measurements


def test_a_disk_that_fills_up_stops_the_journal_with_a_remedy(store: Store) -> None:
    run = begin(store)
    with journal_on_a_full_disk(store, run) as opened:
        opened.append(make_events(GRAPH, 0)[0])
        with pytest.raises(StepbenchError, match=r"No space left on device\): free some space .* --resume"):
            opened.sync()
    run = begin(store)
    with journal_on_a_full_disk(store, run) as opened:

        def append_all() -> None:
            for event in make_events(GRAPH, 1000):  # More than any buffer holds.
                opened.append(event)

        with pytest.raises(StepbenchError, match=r"No space left on device\): free some space .* --resume"):
            append_all()


def test_a_journal_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepbenchError, match="cannot be written"):
        Journal(tmp_path / "missing")


def test_a_journal_survives_a_failed_sync(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(store)
    with Journal(store.folder(run.run_id)) as opened:
        opened.append(make_events(GRAPH, 0)[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", FullDisk())
            with pytest.raises(StepbenchError, match="No space left on device"):
                opened.sync()
    journal(store, run, make_events(GRAPH, 2)[1:])
    assert store.read(run.run_id).measurements == assemble(PLAN.cases, make_events(GRAPH, 2))


def test_a_finished_runs_journal_stays_when_the_run_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(store)
    path = journal(store, run, make_events(GRAPH, 3))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk())
        with pytest.raises(StepbenchError):
            store.write(msgspec.structs.replace(run, finished=FINISHED.finished))
    assert path.exists()
    assert len(store.read(run.run_id).measurements[0].replicates[0].blocks) == 3
