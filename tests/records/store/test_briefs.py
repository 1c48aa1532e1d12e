from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from builders import STARTED, make_events
from stored import FINISHED, GRAPH, FullDisk, begin, journal

from stepbench.errors import StepbenchError
from stepbench.records.store import LATEST, RUN_FILE, Briefs, Run, Store, files, read_briefs
from stepbench.records.store.briefs import INDEX_LAYOUT, _Index
from stepbench.records.store.names import INDEX_FILE


def run_of(name: str, hours: float = 0, **changes: object) -> Run:
    return msgspec.structs.replace(FINISHED, run_id=name, started=STARTED + timedelta(hours=hours), **changes)


def write_all(store: Store, *runs: Run) -> None:
    for run in runs:
        store.write(run)


def names(briefs: Briefs) -> list[str]:
    return [run.name for run in briefs.runs]


def never(*_: object) -> None:
    pytest.fail("a run was read again")


def test_a_brief_says_what_the_run_says(store: Store) -> None:
    store.write(FINISHED)
    (brief,) = read_briefs(store.root).runs
    assert (brief.name, brief.run_id, brief.started) == (FINISHED.run_id, FINISHED.run_id, FINISHED.started)
    assert (brief.data, brief.environment, brief.plan.cases) == (
        FINISHED.data,
        FINISHED.environment,
        FINISHED.plan.cases,
    )
    for mine, whole in zip(brief.measurements, FINISHED.measurements, strict=True):
        assert (mine.case, mine.failure) == (whole.case, whole.failure)
        assert [[(block.steps, block.seconds) for block in one.blocks] for one in mine.replicates] == [
            [(block.steps, block.seconds) for block in one.blocks] for one in whole.replicates
        ]


def test_runs_come_in_order_of_their_start_each_once(store: Store) -> None:
    write_all(store, run_of("a", 2), run_of("b", 1), run_of("c", 3))
    (store.root / LATEST).symlink_to("c")
    assert names(read_briefs(store.root)) == ["b", "a", "c"]


def test_a_run_that_goes_on_has_no_measurements_yet(store: Store) -> None:
    run = begin(store)
    journal(store, run, make_events(GRAPH, 3))
    (brief,) = read_briefs(store.root).runs
    assert (brief.finished, brief.measurements) == (None, ())


def test_a_folder_without_runs_or_no_folder_gives_none(store: Store) -> None:
    assert read_briefs(store.root) == Briefs((), ())
    (store.root / "gate").mkdir(parents=True)
    (store.root / "gate" / "gate.json").write_text("{}")
    (store.root / "note.txt").write_text("")
    (store.root / "odd" / RUN_FILE).mkdir(parents=True)
    assert read_briefs(store.root) == Briefs((), ())


def damaged(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return write


DAMAGE = {
    "cut off": (damaged(lambda content: content[:500]), "is damaged"),
    "no JSON": (damaged(lambda _: b"\xff\xfe"), "is damaged"),
    "something else": (damaged(lambda _: b'{"schema": 1, "fun": []}'), "is damaged"),
    "another schema": (damaged(lambda content: content.replace(b'"schema": 1', b'"schema": 2')), "has schema 2"),
    "no time at all": (damaged(lambda content: content.replace(b'"seconds": 0.1', b'"seconds": 0.0')), "is damaged"),
    "no steps": (damaged(lambda content: content.replace(b'"steps": 10', b'"steps": 0')), "is damaged"),
    "no time zone": (damaged(lambda content: content.replace(b'05Z"', b'05"')), "is damaged"),
    "an impossible case": (damaged(lambda content: content.replace(b'"graph"', b'"a,b"')), "is no name for"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_costs_only_itself_and_one_sentence(store: Store, kind: str) -> None:
    harm, words = DAMAGE[kind]
    write_all(store, run_of("bad"), run_of("good"))
    harm(store.root / "bad" / RUN_FILE)
    for _ in range(2):
        found = read_briefs(store.root)
        assert names(found) == ["good"]
        (problem,) = found.problems
        assert words in problem


def test_a_run_that_may_not_be_read_costs_only_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    store.write(run_of("a"))
    monkeypatch.setattr(Path, "read_bytes", refuse)
    found = read_briefs(store.root)
    assert found.runs == ()
    (problem,) = found.problems
    assert problem.endswith("run.json cannot be read (Permission denied): check its permissions.")


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"\x1b[31m"])
def test_a_folder_whose_name_cannot_be_printed_is_left_out(store: Store, name: bytes) -> None:
    store.write(run_of("good"))
    store.folder("good").rename(store.root / os.fsdecode(name))
    found = read_briefs(store.root)
    assert names(found) == []
    (problem,) = found.problems
    assert "give it a printable name" in problem
    assert problem.isprintable()


def test_what_was_read_is_not_read_again_until_it_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(store, run_of("a"), run_of("b", 1))
    first = read_briefs(store.root)
    with monkeypatch.context() as patch:
        patch.setattr(files, "decode", never)
        assert read_briefs(store.root) == first
    store.write(run_of("b", 1, data="another"))
    assert [run.data for run in read_briefs(store.root).runs] == ["synthetic", "another"]
    (store.folder("a") / RUN_FILE).unlink()
    assert names(read_briefs(store.root)) == ["b"]


def test_an_index_of_another_layout_or_of_none_is_not_believed(store: Store) -> None:
    store.write(run_of("a"))
    read_briefs(store.root)
    good = (store.root / INDEX_FILE).read_bytes()
    index = msgspec.msgpack.decode(good, type=_Index)
    entry = index.entries["a"]
    lies = {"a": msgspec.structs.replace(entry, brief=msgspec.structs.replace(entry.brief, data="a lie"))}
    (store.root / INDEX_FILE).write_bytes(msgspec.msgpack.encode(_Index(INDEX_LAYOUT, lies)))
    assert [run.data for run in read_briefs(store.root).runs] == ["a lie"]
    for content in (msgspec.msgpack.encode(_Index(INDEX_LAYOUT + 1, lies)), b"", b"\xff" * 100, b"\x00"):
        (store.root / INDEX_FILE).write_bytes(content)
        assert [run.data for run in read_briefs(store.root).runs] == ["synthetic"]
        assert (store.root / INDEX_FILE).read_bytes() == good, "it is written anew"


def test_runs_are_read_where_nothing_can_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(run_of("a"))
    monkeypatch.setattr(os, "fsync", FullDisk())
    assert names(read_briefs(store.root)) == ["a"]
    assert not (store.root / INDEX_FILE).exists()
    with pytest.raises(StepbenchError):
        store.write(run_of("b"))
