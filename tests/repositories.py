"""Git repositories made for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WHO = {
    f"GIT_{role}_{what}": text
    for role in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "Tester"), ("EMAIL", "tester@example.com"))
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**os.environ, **WHO}, capture_output=True, text=True, check=True
    )
    return done.stdout


def make_repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", "--template=")
    return folder


def commit(folder: Path, subject: str, **files: str) -> str:
    """Write ``files``, of which ``step`` is ``step.py``, and commit all that there is; gives the commit."""
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", subject)
    return git(folder, "rev-parse", "HEAD").strip()
