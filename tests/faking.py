"""Fake workers, started by the real pool in place of those that import TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import places
import pytest

from stepbench.engine import processes

WORKLOAD = f"{places.TINY}:workload"
FAKE = (sys.executable, "-P", str(places.TESTS / "fake_worker.py"))
SERVER = (sys.executable, "-P", str(places.TESTS / "fake_fork_server.py"))


def start_fakes(patch: pytest.MonkeyPatch) -> None:
    """Have pools start fake workers."""
    patch.setattr(processes, "COMMAND", FAKE)
    patch.setattr(processes, "SERVER", SERVER)


def command(*arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own, with fake workers."""
    line = [sys.executable, __file__, *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, until it ends."""
    with command(*arguments) as process:
        output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def main() -> None:
    from stepbench import cli
    from stepbench.commands import run as commands

    processes.COMMAND, processes.SERVER = FAKE, SERVER
    commands._show = lambda *_: None  # Drawing the page takes seconds.
    sys.argv[0] = str(Path(sys.executable).with_name("stepbench"))
    cli.main()


if __name__ == "__main__":
    main()
