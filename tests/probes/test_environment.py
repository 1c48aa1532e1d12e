from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbench.probes import environment
from stepbench.probes.environment import (
    collect,
    parse_git_status,
    read_lock,
    read_repository,
    read_software,
    select_variables,
)
from stepbench.records.machine import Cpu, Environment, Memory, Repository

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one commit, which holds ``file``."""
    folder = tmp_path_factory.mktemp("pattern") / "checkout"
    folder.mkdir()
    git(folder, "init", "--initial-branch=trunk")
    (folder / "file").write_text("one")
    git(folder, "add", "file")
    git(folder, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--message=first")
    return folder


@pytest.fixture
def checkout(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whatever this machine's git settings are."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return Path(shutil.copytree(pattern, tmp_path / "checkout"))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def plant_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a git of our own, and nothing else, on the path."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_this_machine_is_collected_and_survives_strict_json() -> None:
    here = collect()
    assert here.cpu.logical_cores == os.cpu_count()
    assert here.software.python == sys.version.split()[0]
    assert here.software.packages["tensorflow"].startswith("2.")
    assert msgspec.json.decode(msgspec.json.encode(here), type=Environment, strict=True) == here


def test_the_fingerprint_of_this_machine_is_stable() -> None:
    assert collect().fingerprint == collect().fingerprint


def test_collecting_imports_nothing_heavy() -> None:
    code = (
        "import sys; from stepbench.probes.environment import collect; collect();"
        "print({'tensorflow', 'keras', 'numpy', 'psutil', 'xprof', 'tensorboard'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_system_without_proc_and_sys_leaves_facts_unknown(tmp_path: Path) -> None:
    bare = collect(root=tmp_path)
    assert bare.memory == Memory()
    assert bare.cpu == Cpu(logical_cores=os.cpu_count(), usable_cores=bare.cpu.usable_cores)
    assert bare.host.product is None
    assert bare.host.hypervisor is None


def test_rubbish_in_every_file_leaves_facts_unknown(tmp_path: Path) -> None:
    for name in ("proc/cpuinfo", "proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/cpu.max"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 : = 0::/\n\n:::")
    rubbish = collect(root=tmp_path)
    assert rubbish.memory == Memory()
    assert rubbish.cpu.model is None
    msgspec.json.encode(rubbish)


def test_a_folder_that_is_gone_has_no_repository(tmp_path: Path) -> None:
    assert collect(tmp_path / "gone").repository is None


def test_variables_are_chosen_by_prefix_and_by_name() -> None:
    chosen = {"XLA_FLAGS": "--a", "TF_ENABLE_ONEDNN_OPTS": "0", "OMP_NUM_THREADS": "2", "LD_PRELOAD": "/libtcmalloc.so"}
    others = {"HOME": "/root", "PATH": "/bin", "MALLOC_ARENA_MAX_": "1", "tf_lower": "1", "MY_TF_FLAG": "1"}
    assert select_variables(chosen | others) == chosen


@pytest.mark.parametrize(
    "name",
    [
        "TF_API_TOKEN",
        "TF_TOKEN_app_terraform_io",
        "KERAS_Secret",
        "CUDA_KEY_FILE",
        "NVIDIA_API_KEY",
        "XLA_PASSWORD",
        "OMP_PASSWD",
        "MKL_CREDENTIALS",
        "KMP_access_token",
        "TF_VAR_db",
        "TF_CLI_ARGS",
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_a_secret_is_never_stored(name: str) -> None:
    assert select_variables({name: "hunter2"}) == {}


def test_the_environment_of_the_process_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "hunter2")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    stored = msgspec.json.encode(collect())
    assert b"hunter2" not in stored
    assert b"TF_NUM_INTRAOP_THREADS" in stored


def test_bytes_that_are_not_text_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "XLA_DUMP", os.fsdecode(b"dump/\xff"))
    assert msgspec.json.encode(collect().variables)
    assert select_variables(os.environ)["XLA_DUMP"] == "dump/\ufffd"


def test_nvidia_wheels_are_found_by_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "nvidia_cudnn_cu12-9.3.0.75.dist-info").mkdir(parents=True)
    (second / "nvidia_cudnn_cu12-8.0.dist-info").mkdir(parents=True)
    (second / "nvidia_nccl_cu12-2.25.1.dist-info").mkdir()
    (second / "unrelated-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(first), str(second), str(tmp_path / "gone")])
    packages = read_software().packages
    assert packages == {"nvidia-cudnn-cu12": "9.3.0.75", "nvidia-nccl-cu12": "2.25.1"}


@needs_git
def test_a_clean_checkout_may_hold_what_is_untracked(checkout: Path) -> None:
    expected = Repository(commit=git(checkout, "rev-parse", "HEAD"), branch="trunk", dirty=False)
    assert read_repository(checkout) == expected
    (checkout / "notes").touch()
    repository = read_repository(checkout)
    assert repository is not None
    assert repository.dirty is False


@needs_git
def test_a_changed_file_is_dirt(checkout: Path) -> None:
    (checkout / "file").write_text("two")
    changed = read_repository(checkout)
    git(checkout, "add", "file")
    staged = read_repository(checkout)
    assert [found and found.dirty for found in (changed, staged)] == [True, True]


@needs_git
def test_a_detached_head_has_no_branch(checkout: Path) -> None:
    git(checkout, "checkout", "--detach")
    repository = read_repository(checkout)
    assert repository is not None
    assert repository.branch is None
    assert repository.commit == git(checkout, "rev-parse", "HEAD")


@needs_git
def test_a_repository_before_its_first_commit(checkout: Path) -> None:
    git(checkout, "checkout", "--orphan", "empty")
    git(checkout, "rm", "-f", "file")
    assert read_repository(checkout) == Repository(commit=None, branch="empty", dirty=False)


@needs_git
def test_looking_writes_nothing_into_the_repository(checkout: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")}
    os.utime(checkout / "file", (1, 1))  # Would make a plain "git status" refresh its index.
    read_repository(checkout)
    assert {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")} == before


@needs_git
@pytest.mark.parametrize(
    ("files", "first"),
    [
        (("requirements.lock",), "requirements.lock"),
        (("poetry.lock", "uv.lock"), "uv.lock"),
        (("Cargo.lock",), None),
        ((), None),
    ],
)
def test_the_lock_file_in_the_root_is_known_by_its_hash(
    checkout: Path, files: tuple[str, ...], first: str | None
) -> None:
    for name in files:
        (checkout / name).write_text(f"what {name} pins")
    (checkout / "below").mkdir()
    (checkout / "below" / "requirements.lock").write_text("of something else")
    expected = first and f"{hashlib.sha256(f'what {first} pins'.encode()).hexdigest()}  {first}"
    found = read_repository(checkout / "below")
    assert found
    assert found.lock == expected


def test_what_is_no_file_is_no_lock_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "requirements.lock")  # Reading it would wait for a writer.
    assert read_lock(tmp_path) is None


@needs_git
@pytest.mark.usefixtures("checkout")
def test_a_folder_without_repository(tmp_path: Path) -> None:
    assert read_repository(tmp_path) is None


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_repository(tmp_path) is None


def test_a_checkout_too_large_to_look_through_keeps_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_git(tmp_path / "bin", monkeypatch, 'case "$*" in *status*) exit 1;; esac; echo 0123abcd')
    assert read_repository(tmp_path) == Repository(commit="0123abcd")


def test_a_git_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_git(tmp_path / "bin", monkeypatch, "while :; do :; done")
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 0.05)
    assert read_repository(tmp_path) is None


@given(st.text())
def test_no_answer_of_git_raises(text: str) -> None:
    parse_git_status(text)
