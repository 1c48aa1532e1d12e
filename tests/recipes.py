"""The shell recipe for CI, run in repositories made for tests."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from repositories import WHO, commit, git, make_repository

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "examples" / "ci" / "gate.sh"
UNSET = ("GITHUB_STEP_SUMMARY", "GATE_RESULTS", "GATE_SUMMARY", "GATE_INCONCLUSIVE", "GATE_JUNIT", "GATE_TESTS")


@dataclass(frozen=True)
class Job:
    """A clone as CI makes it, of a branch that left ``main`` at ``base``, after which ``main`` went on."""

    clone: Path
    base: str
    programs: Path
    """A folder that comes first on the PATH."""

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the recipe as CI does."""
        inherited = {name: value for name, value in os.environ.items() if name not in UNSET and "PYTEST" not in name}
        path = os.pathsep.join([str(self.programs), inherited["PATH"]])
        return subprocess.run(
            [str(RECIPE), *arguments],
            cwd=self.clone,
            env={**inherited, **WHO, "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def make_job(folder: Path, begin: dict[str, str], head: dict[str, str], later: dict[str, str]) -> Job:
    """Files are named without their ``.py``; the clone has one commit of the one branch."""
    origin = make_repository(folder / "origin")
    base = commit(origin, "Begin", **begin)
    git(origin, "checkout", "--quiet", "-b", "change")
    commit(origin, "Change it", **head)
    git(origin, "checkout", "--quiet", "main")
    commit(origin, "Go on elsewhere", **later)
    git(folder, "clone", "--quiet", "--depth=1", "--branch=change", f"file://{origin}", "clone")
    programs = folder / "programs"
    programs.mkdir()
    return Job(folder / "clone", base, programs)


def write_program(folder: Path, name: str, text: str) -> None:
    """Make an executable script of ``text``."""
    program = folder / name
    program.write_text(text)
    program.chmod(0o755)
