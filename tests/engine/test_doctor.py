from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stepbench.engine import processes
from stepbench.engine.doctor import ask_tensorflow, read_data, read_disk
from stepbench.engine.worker import Worker

KIBIBYTE = 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, which only root may make."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_the_room_of_a_folder_that_is_not_there_yet_is_that_around_it(tmp_path: Path) -> None:
    disk = read_disk(tmp_path / "new" / "results")
    assert disk.problem is None
    assert disk.folder == str(tmp_path / "new" / "results")
    assert disk.free_bytes is not None
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_is_seen_to(small_disk: Path) -> None:
    assert (read_disk(small_disk / "results").free_bytes or 0) == 256 * KIBIBYTE
    with (small_disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 256 * KIBIBYTE)
    assert read_disk(small_disk / "results").free_bytes == 0


def test_what_cannot_be_a_folder_for_results_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_disk(tmp_path / "file" / "results").problem is not None
    assert "is no folder" in (read_disk(tmp_path / "file").problem or "")
    assert read_disk(tmp_path / ("x" * 5000)).problem == "File name too long"


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not be written" in (read_disk(tmp_path).problem or "")


def test_a_name_that_is_no_unicode_can_be_stored(tmp_path: Path) -> None:
    disk = read_disk(tmp_path / os.fsdecode(b"caf\xe9"))
    assert b"caf\xef\xbf\xbd" in msgspec.json.encode(disk)


def test_a_file_system_without_a_limit_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    endless = os.statvfs_result((*real[:5], 0, 0, 0, *real[8:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: endless)
    assert read_disk(tmp_path).free_files is None


def test_data_that_is_here_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPBENCH_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert (read_data().name, read_data().folder, read_data().problem) == ("synthetic", None, None)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_text("")
    monkeypatch.setenv("STEPBENCH_DATA", str(tmp_path))
    assert read_data().folder == str(tmp_path / "cifar-10-batches-py")


def test_data_that_is_named_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPBENCH_DATA", "nowhere")
    assert "STEPBENCH_DATA must be unset or name a folder" in (read_data().problem or "")


def test_a_worker_that_does_not_start_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "COMMAND", ("/bin/false",))
    facts, failure = ask_tensorflow()
    assert facts is None
    assert "exited with code 1" in (failure or "")


def test_a_full_temporary_folder_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Worker, "__init__", full)
    assert ask_tensorflow() == (None, "[Errno 28] No space left on device")
