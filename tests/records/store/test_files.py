from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from builders import make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import FINISHED, GRAPH, FullDisk, begin, refusal_of

from stepbench.errors import StepbenchError
from stepbench.records.store import RUN_FILE, Store
from stepbench.records.store.files import encode

texts = st.text(st.characters(codec="utf-8"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(max_examples=15)  # Each is large.
@given(anything)
def test_the_layout_changes_nothing_of_what_is_stored(what: Any) -> None:
    assert msgspec.json.decode(encode(what)) == what


def test_a_list_of_numbers_takes_one_line_and_each_of_several_its_own() -> None:
    what = {"losses": [2.5, None, 1e-9], "rows": [["a", 1], ["[\\", 2]], "empty": []}
    assert encode(what).decode().splitlines() == [
        "{",
        ' "losses": [2.5, null, 1e-9],',
        ' "rows": [',
        '  ["a", 1],',
        '  ["[\\\\", 2]',
        " ],",
        ' "empty": []',
        "}",
    ]


def test_a_run_in_the_layout_of_earlier_versions_is_read(store: Store) -> None:
    store.write(FINISHED)
    path = store.folder(FINISHED.run_id) / RUN_FILE
    for indent in (1, 0):
        path.write_bytes(msgspec.json.format(path.read_bytes(), indent=indent))
        assert store.read(FINISHED.run_id) == FINISHED


def test_a_file_nested_without_end_is_refused(store: Store) -> None:
    (store.root / "run").mkdir(parents=True)
    (store.root / "run" / RUN_FILE).write_bytes(b'{"schema": 1, "x": ' + b"[" * 100_000)
    assert "is damaged" in refusal_of(store, "run")


def test_a_run_file_cut_off_anywhere_is_refused(store: Store) -> None:
    store.write(FINISHED)
    path = store.folder(FINISHED.run_id) / RUN_FILE
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert f"{path} is damaged" in refusal_of(store, FINISHED.run_id)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"schema":"1"}', b'{"schema":1}', b"\xff", b"null"])
def test_a_file_that_is_no_run_is_refused(store: Store, content: bytes) -> None:
    (store.root / "run").mkdir(parents=True)
    (store.root / "run" / RUN_FILE).write_bytes(content)
    assert "is damaged" in refusal_of(store, "run")


def test_a_stored_run_that_measures_the_impossible_is_refused(store: Store) -> None:
    store.write(FINISHED)
    path = store.folder(FINISHED.run_id) / RUN_FILE
    path.write_bytes(path.read_bytes().replace(b'"batch_size": 64', b'"batch_size": 0'))
    assert "at least 1, not 0" in refusal_of(store, FINISHED.run_id)


@pytest.mark.parametrize("schema", [0, 2, 99])
def test_another_schema_is_refused_by_its_number(store: Store, schema: int) -> None:
    store.write(msgspec.structs.replace(FINISHED, schema=schema))
    assert f"has schema {schema}, and this stepbench reads 1" in refusal_of(store, FINISHED.run_id)
    (store.folder(FINISHED.run_id) / RUN_FILE).write_text(f'{{"schema": {schema}, "plan": 7}}')
    assert f"has schema {schema}, and" in refusal_of(store, FINISHED.run_id), "whatever its fields"


def test_fields_that_a_later_version_added_are_ignored(store: Store) -> None:
    store.write(FINISHED)
    path = store.folder(FINISHED.run_id) / RUN_FILE
    path.write_bytes(path.read_bytes().replace(b"{", b'{"added_later": [1, 2],', 1))
    assert store.read(FINISHED.run_id) == FINISHED


def test_the_old_run_stands_when_the_new_one_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(FINISHED)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk())
        with pytest.raises(StepbenchError, match="No space left on device"):
            store.write(msgspec.structs.replace(FINISHED, data="new"))
    assert store.read(FINISHED.run_id) == FINISHED
    assert [path.name for path in store.folder(FINISHED.run_id).iterdir()] == [RUN_FILE]


def test_a_draft_that_a_kill_left_behind_does_no_harm(store: Store) -> None:
    store.write(FINISHED)
    draft = store.folder(FINISHED.run_id) / f".{RUN_FILE}.draft"
    draft.write_bytes(b"{")
    assert store.read(FINISHED.run_id) == FINISHED
    store.write(FINISHED)
    assert not draft.exists()


def test_a_path_that_is_no_unicode_is_refused(store: Store) -> None:
    # Linux' paths are bytes; Python keeps those that are no UTF-8 as lone surrogates, which JSON cannot hold.
    with pytest.raises(StepbenchError, match="use names in UTF-8"):
        begin(store, make_plan([GRAPH], data=os.fsdecode(b"/caf\xe9")))
