from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from builders import ENVIRONMENT
from stored import FINISHED, PLAN, FullDisk, begin, refusal_of

from stepbench.errors import StepbenchError
from stepbench.records.run import assemble
from stepbench.records.store import LATEST, RUN_FILE, Store


def test_a_run_is_read_back_as_it_was_written(store: Store) -> None:
    run = begin(store)
    assert run.plan == PLAN
    assert run.environment == ENVIRONMENT
    read = store.read(run.run_id)
    assert msgspec.structs.replace(read, measurements=()) == run
    assert read.measurements == assemble(PLAN.cases, [])
    store.write(FINISHED)
    assert store.read(FINISHED.run_id) == FINISHED


def test_latest_is_a_relative_link_to_the_newest_run_of_which_each_has_its_folder(store: Store) -> None:
    assert begin(store).run_id != begin(store).run_id
    begin(store)
    run = begin(store)
    assert (store.root / LATEST).readlink() == Path(run.run_id)
    assert store.read() == store.read(LATEST) == store.read(run.run_id)
    assert sorted(path.name for path in store.root.iterdir() if path.name.startswith(".")) == []


def test_without_a_link_as_in_a_fresh_clone_the_newest_run_is_the_latest(store: Store) -> None:
    for number in (2, 3, 1):
        store.write(msgspec.structs.replace(FINISHED, run_id=f"2026010{number}"))
    assert not (store.root / LATEST).exists()
    assert store.read().run_id == "20260103"


def test_a_folder_that_already_bears_the_name_latest_is_left_alone(store: Store) -> None:
    (store.root / LATEST / "precious").mkdir(parents=True)
    run = begin(store)
    assert (store.root / LATEST / "precious").is_dir()
    assert store.read(run.run_id).run_id == run.run_id


def test_no_run_at_all_says_how_to_make_one(store: Store) -> None:
    assert "make one with 'stepbench run'" in refusal_of(store, LATEST)


def test_a_run_is_found_by_the_path_of_its_folder(store: Store, tmp_path: Path) -> None:
    run = begin(store)
    elsewhere = Store(tmp_path / "other")
    assert elsewhere.read(str(store.folder(run.run_id))).run_id == run.run_id
    assert elsewhere.read(str(store.root / LATEST)).run_id == run.run_id


def test_an_id_goes_before_a_folder_of_that_name_in_the_working_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(FINISHED)
    Store(tmp_path).write(msgspec.structs.replace(FINISHED, data="another"))
    monkeypatch.chdir(tmp_path)
    assert store.read(FINISHED.run_id).data == "synthetic"
    assert store.read(f"./{FINISHED.run_id}/../{FINISHED.run_id}").data == "another"


@pytest.mark.parametrize("name", ["nope", "", ".", "..", "a/b", "\0", "x" * 5000, f"../{FINISHED.run_id}"])
def test_a_name_without_a_run_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    begin(store)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "There is no run" in refusal_of(store, name)


def test_a_name_with_dots_or_slashes_is_a_path_and_never_an_id(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The run lies beside the results: as an id these names would climb out to it, as paths they lead nowhere.
    Store(tmp_path).write(FINISHED)
    store.root.mkdir()
    (tmp_path / RUN_FILE).write_bytes((tmp_path / FINISHED.run_id / RUN_FILE).read_bytes())
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for name in (f"../{FINISHED.run_id}", "..", f"x/../../{FINISHED.run_id}"):
        assert "There is no run" in refusal_of(store, name)


def test_results_under_a_file_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    for action in (store.check_writable, lambda: begin(store), lambda: store.write(FINISHED)):
        with pytest.raises(StepbenchError, match=r"cannot be written .* with --results"):
            action()
    assert "There is no run" in refusal_of(store, LATEST)


def test_a_writable_folder_is_made_and_left_empty(store: Store) -> None:
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_a_full_disk_is_found_before_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", FullDisk())
    with pytest.raises(StepbenchError, match="No space left on device"):
        store.check_writable()
    assert list(store.root.iterdir()) == []
