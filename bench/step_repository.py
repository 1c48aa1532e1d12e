"""A scratch git repository of a training step whose commits differ in a planted slowdown, for other tools to check.

Used by gates_elsewhere.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stepbench.errors import StepbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 600.0
LAST_LINES = 20
PATHS = tuple(path for path in sys.path if path and Path(path) != Path(__file__).parent)
"""Where this interpreter finds packages."""

STEP = '''\
"""The training step; commits differ in SLOWDOWN."""

import functools
import itertools

from stepbench.worker.timing import WARM_UP_CALLS, make_ring, slowed
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.training.data import resolve_source
from stepbench.training.devices import use_device
from stepbench.training.locate import load_workload
from stepbench.training.task import open_task
from stepbench.training.executions import build_call

SLOWDOWN = {slowdown}


@functools.cache
def make_step():
    """Give the step, warmed up; cached, since asv sets up before every sample."""
    use_device(Device.CPU)
    case = Case("cifar-cnn", Variant("graph", Precision.FLOAT32), Device.CPU, 64)
    task = open_task(load_workload(case.workload), resolve_source("synthetic", limit=1024))
    call = build_call(task.build(case.variant.precision, seed=0, batch_size=case.batch_size), case)
    call = slowed(call, SLOWDOWN) if SLOWDOWN else call
    batches = itertools.cycle(make_ring(case, task))

    def step():
        call(next(batches))

    for _ in range(1 + WARM_UP_CALLS):
        step()
    return step
'''
TEST_STEP = """\
from step import make_step


def test_step(benchmark):
    benchmark(make_step())
"""
BENCHMARKS = """\
class Step:
    def setup(self):
        from step import make_step

        self.step = make_step()

    def time_step(self):
        self.step()
"""
INSTALL = """\
import pathlib
import shutil
import sysconfig

packages = pathlib.Path(sysconfig.get_path("purelib"))
shutil.copy("step.py", packages)
# The rest is found where the interpreter of the benchmarks finds it.
packages.joinpath("found.pth").write_text({paths!r})
"""
ASV_CONF = {
    "version": 1,
    "project": "step",
    "repo": ".",
    "branches": ["main"],
    "environment_type": "virtualenv",
    "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"],
    "env_dir": "../env",
    "results_dir": "../results",
    "build_command": [],
    "install_command": ["python install.py"],
    "uninstall_command": [],
}
FILES = {
    "pytest.ini": "[pytest]\n",
    "test_step.py": TEST_STEP,
    "install.py": INSTALL.format(paths="\n".join(PATHS)),
    "asv.conf.json": json.dumps(ASV_CONF),
    "benchmarks/__init__.py": "",
    "benchmarks/benchmarks.py": BENCHMARKS,
}


@dataclass(frozen=True)
class Finished:
    """What came of a command."""

    found: bool
    """Whether it failed to say that it found something."""
    text: str
    seconds: float


class StepRepository:
    """A commit for each slowdown, in a folder that is left to it, and commands run there."""

    def __init__(self, folder: Path, slowdowns: Sequence[float]) -> None:
        self.folder = folder
        self._tree = folder / "repository"
        for name in ("home", "tmp", "repository/benchmarks"):
            (folder / name).mkdir(parents=True)
        self._environment = _environment(folder)
        self.git("init", "--quiet", "--initial-branch=main")
        for name, content in FILES.items():
            (self._tree / name).write_text(content)
        self.base = self._commit(0.0)
        self.heads = {slowdown: self._commit(slowdown) for slowdown in slowdowns}

    def git(self, *arguments: str) -> str:
        return self.run(("git", *arguments)).text.strip()

    def run(
        self, command: Sequence[str], sign: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Finished:
        """Run a command in the repository to its end; none of its processes outlives it, nor a Ctrl-C.

        Args:
            command: to run.
            sign: what it says when its failure is a finding.
            environment: to be added to the tools' own.

        Raises:
            StepbenchError: when it fails for another reason.
        """
        started = time.perf_counter()
        with subprocess.Popen(
            command,
            cwd=self._tree,
            env={**self._environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                text, _ = process.communicate(timeout=TIMEOUT_S)
            finally:
                end_session(process.pid)
        if process.returncode and (sign is None or sign not in text):
            last = "\n".join(text.strip().splitlines()[-LAST_LINES:])
            raise StepbenchError(f"{' '.join(command)} failed with exit code {process.returncode}:\n{last}")
        return Finished(process.returncode != 0, text, time.perf_counter() - started)

    def _commit(self, slowdown: float) -> str:
        (self._tree / "step.py").write_text(STEP.format(slowdown=slowdown))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message=Slower by {slowdown:.0%}")
        return self.git("rev-parse", "HEAD")


def _environment(folder: Path) -> dict[str, str]:
    """The tools find what this interpreter finds, and leave nothing outside the folder."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("GIT_", "PYTEST_"))}
    who = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **inherited,
        **who,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(PATHS),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Two commits' step.py may have the same size and be written in the same second.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def end_session(leader: int) -> None:
    """End what is left of a session; asv's benchmarks are in groups of their own."""
    while found := [process for process in psutil.process_iter() if _is_in_session(process, leader)]:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)


def _is_in_session(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False
