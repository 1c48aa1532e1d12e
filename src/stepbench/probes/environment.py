"""Reads the facts about this machine that decide speed. What cannot be read is left out; nothing here raises."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stepbench.probes.git import GitError, git
from stepbench.probes.gpu import read_gpus
from stepbench.probes.hardware import ROOT, clean, read_cpu, read_host, read_memory
from stepbench.records.machine import Environment, Repository, Software

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = (
    *("stepbench", "tensorflow", "keras", "numpy"),
    *("tensorboard", "tensorboard-plugin-profile", "xprof", "pytest-benchmark"),
)
"""Distributions whose versions are stored, besides every installed ``nvidia-*``."""

VARIABLE_PREFIXES = (
    *("TF_", "XLA_", "KERAS_", "CUDA_", "CUDNN_", "NVIDIA_"),
    *("OMP_", "MKL_", "ONEDNN_", "DNNL_", "KMP_", "GOMP_", "OPENBLAS_"),
)
VARIABLES = ("LD_PRELOAD", "MALLOC_ARENA_MAX", "PYTHONHASHSEED", "PYTHONMALLOC")
SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
FOREIGN_PREFIXES = ("TF_VAR_", "TF_CLI_")
"""Terraform's, whose variables often hold passwords under plain names."""

GIT_TIMEOUT_S = 2.0
LOCK_FILES = ("requirements.lock", "uv.lock", "poetry.lock")
"""In a checkout's root; the first one that is there is the one that counts."""


def collect(cwd: Path | None = None, *, root: Path = ROOT) -> Environment:
    """Everything about this machine, this interpreter and the checkout in ``cwd`` (default: the current folder).

    Args:
        cwd: the folder whose git checkout is described.
        root: where ``/proc``, ``/sys`` and ``/etc`` are looked for.
    """
    return Environment(
        host=read_host(root),
        cpu=read_cpu(root),
        memory=read_memory(root),
        software=read_software(),
        load_average=read_load(),
        variables=select_variables(os.environ),
        repository=read_repository(cwd),
        gpus=read_gpus(),
    )


def read_software() -> Software:
    """Versions from the distributions' metadata: nothing is imported to ask it."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    return Software(python=platform.python_version(), packages=versions | _nvidia_packages(sys.path))


def read_load() -> tuple[float, float, float] | None:
    """Processes ready to run, averaged over the last 1, 5 and 15 minutes."""
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return None


def select_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that change kernels or speed, sorted, without anything named like a secret."""
    return {clean(name): clean(variables[name]) for name in sorted(variables) if _is_stored(name)}


def read_repository(cwd: Path | None = None) -> Repository | None:
    """The git checkout around ``cwd``; ``None`` when there is none, or no git."""
    status = _git(cwd, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is not None:
        found = parse_git_status(clean(status))
    # In a huge checkout looking at every file may take too long; its commit is still worth having.
    elif commit := _git(cwd, "rev-parse", "HEAD"):
        found = Repository(commit=commit)
    else:
        return None
    root = _git(cwd, "rev-parse", "--show-toplevel")
    return msgspec.structs.replace(found, lock=read_lock(Path(root)) if root else None)


def read_lock(root: Path) -> str | None:
    """The SHA-256 and the name of the lock file in ``root``; ``None`` when there is none that can be read."""
    path = next((root / name for name in LOCK_FILES if (root / name).is_file()), None)
    try:
        return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" if path else None
    except OSError:
        return None


def parse_git_status(text: str) -> Repository:
    """``git status --porcelain=v2 --branch``: headers, then a line for each changed file."""
    lines = text.splitlines()
    fields = (line.removeprefix("# ").partition(" ") for line in lines if line.startswith("# "))
    headers = {name: value for name, _, value in fields}
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    return Repository(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in lines),
    )


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except (PackageNotFoundError, KeyError, OSError):  # Not installed, or half removed.
        return None


def _nvidia_packages(folders: list[str]) -> dict[str, str]:
    """From the metadata folders' names, since reading the metadata of everything installed takes long."""
    # Of two, the one in the earlier folder is imported: it comes last here and stays.
    paths = (path for folder in reversed(folders) for path in _glob(folder, "nvidia_*.dist-info"))
    pairs = (path.name.removesuffix(".dist-info").partition("-") for path in paths)
    return {name.replace("_", "-"): version for name, _, version in pairs}


def _glob(folder: str, pattern: str) -> list[Path]:
    try:
        return sorted(Path(folder).glob(pattern))
    except OSError:
        return []


def _is_stored(name: str) -> bool:
    chosen = name.startswith(VARIABLE_PREFIXES) or name in VARIABLES
    return chosen and not name.startswith(FOREIGN_PREFIXES) and not any(word in name.upper() for word in SECRET_WORDS)


def _git(folder: Path | None, *arguments: str) -> str | None:
    try:
        return git(folder, *arguments, timeout_s=GIT_TIMEOUT_S)
    except GitError:
        return None
