"""``stepbench tensorboard`` started as users start it, and asked what its pages ask."""

from __future__ import annotations

import contextlib
import gzip
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from stepbench.records.store import Run, Store

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))


@dataclass(frozen=True)
class Server:
    """``stepbench tensorboard`` that has printed its line."""

    process: subprocess.Popen[str]
    line: str

    @property
    def address(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.line)
        assert found, self.line
        return found[0]

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def get(self, route: str, **query: str) -> Any:
        """What TensorBoard's page would ask for."""
        with urllib.request.urlopen(f"{self.address}data/{route}?{urlencode(query)}", timeout=60) as reply:  # noqa: S310
            content = reply.read()
            return msgspec.json.decode(gzip.decompress(content) if reply.headers["Content-Encoding"] else content)

    def tool(self, tool: str, session: str) -> Any:
        (host,) = self.get("plugin/profile/hosts", run=session, tag=tool)
        return self.get("plugin/profile/data", run=session, tag=tool, host=host["hostname"])


@contextlib.contextmanager
def serving(results: Path) -> Iterator[Server]:
    command = [STEPBENCH, "tensorboard", "--results", str(results)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Server(process, process.stdout.readline())
        finally:
            process.kill()


def refused(results: Path, *arguments: str, program: tuple[str, ...] = (STEPBENCH,)) -> str:
    """What a command says that is to end with exit code 2 and one sentence."""
    command = [*program, "tensorboard", "--results", str(results), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stepbench: ")
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1
    return done.stderr


def stored(root: Path, run: Run) -> Path:
    Store(root).write(run)
    (root / "latest").symlink_to(run.run_id)
    return root
