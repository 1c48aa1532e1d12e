from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from stored import FINISHED, begin, refusal_of

from stepbench.errors import StepbenchError
from stepbench.records.store import (
    BASELINES_FOLDER,
    RUN_FILE,
    Store,
    baselines_of,
    read_baseline,
    read_briefs,
    save_baseline,
)

OTHER = msgspec.structs.replace(FINISHED, run_id="other", data="another")


@pytest.fixture
def filled(store: Store) -> Store:
    store.write(FINISHED)
    store.write(OTHER)
    return store


def refused(store: Store, name: str, run_name: str, *, replace: bool = False) -> str:
    with pytest.raises(StepbenchError) as refusal:
        save_baseline(store, name, run_name, replace=replace)
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


def test_a_baseline_is_a_copy_that_outlives_its_run(filled: Store) -> None:
    path = save_baseline(filled, "good", FINISHED.run_id, replace=False)
    assert path == filled.root / BASELINES_FOLDER / "good" / RUN_FILE
    original = filled.folder(FINISHED.run_id) / RUN_FILE
    assert path.read_bytes() == original.read_bytes()
    original.unlink()
    assert filled.read("good") == read_baseline(filled, "good") == FINISHED


def test_a_run_is_found_before_a_baseline_and_a_baseline_before_a_path(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_baseline(filled, "name", FINISHED.run_id, replace=False)
    Store(tmp_path).write(msgspec.structs.replace(FINISHED, run_id="name", data="a path"))
    monkeypatch.chdir(tmp_path)
    assert filled.read("name").data == FINISHED.data
    assert filled.read("./name").data == "a path"
    filled.write(msgspec.structs.replace(OTHER, run_id="name"))
    assert filled.read("name").data == OTHER.data
    assert read_baseline(filled, "name").data == FINISHED.data


def test_a_baseline_is_replaced_only_when_that_is_asked_for(filled: Store) -> None:
    save_baseline(filled, "good", FINISHED.run_id, replace=False)
    assert "There is a baseline 'good' already" in refused(filled, "good", "other")
    assert filled.read("good") == FINISHED
    save_baseline(filled, "good", "other", replace=True)
    assert filled.read("good") == OTHER


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "-x", "a b", "a\nb", "é", "\0", "x" * 81, "latest"]
)
def test_a_name_that_could_lead_astray_is_refused_and_nothing_is_written(filled: Store, name: str) -> None:
    before = sorted(filled.root.parent.rglob("*"))
    assert "is no name for a baseline" in refused(filled, name, FINISHED.run_id, replace=True)
    assert sorted(filled.root.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["a", "0", "main-2026.1_x", "x" * 80])
def test_a_usual_name_is_taken(filled: Store, name: str) -> None:
    save_baseline(filled, name, FINISHED.run_id, replace=False)
    assert [run.name for run in baselines_of(filled).runs] == [name]


def test_the_id_of_a_run_is_no_name_for_a_baseline(filled: Store) -> None:
    assert "is the id of a run" in refused(filled, "other", FINISHED.run_id)


def test_an_unfinished_or_missing_run_is_no_baseline(store: Store) -> None:
    run = begin(store)
    assert f"complete it with 'stepbench run --resume {run.run_id}' first" in refused(store, "good", run.run_id)
    assert "There is no run 'nope'" in refused(store, "good", "nope")
    assert "There is no run 'good'" in refusal_of(store, "good")


def test_baselines_are_no_runs_of_the_history(filled: Store) -> None:
    save_baseline(filled, "good", FINISHED.run_id, replace=False)
    assert {run.name for run in read_briefs(filled.root).runs} == {FINISHED.run_id, "other"}


@pytest.mark.parametrize("name", ["nope", "../other", "", "\0", "x" * 5000])
def test_a_baseline_that_is_not_there_is_refused(filled: Store, name: str) -> None:
    save_baseline(filled, "good", FINISHED.run_id, replace=False)
    with pytest.raises(StepbenchError, match="see 'stepbench baseline list'"):
        read_baseline(filled, name)


def test_a_damaged_baseline_costs_only_itself(filled: Store) -> None:
    for name in ("bad", "good"):
        save_baseline(filled, name, FINISHED.run_id, replace=False)
    (filled.root / BASELINES_FOLDER / "bad" / RUN_FILE).write_bytes(b"{")
    found = baselines_of(filled)
    assert [run.name for run in found.runs] == ["good"]
    (problem,) = found.problems
    assert "is damaged" in problem
