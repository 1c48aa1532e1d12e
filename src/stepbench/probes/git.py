"""The user's own git, asked about a folder."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
)
"""Set by git for its hooks; with them, checking out a revision would write over the index of the user's own tree."""


class GitError(Exception):
    """Git refuses or takes too long; the message is the last line of what it said, if it said anything."""


class NoGitError(GitError):
    """There is no git."""


def git(folder: Path | None, *arguments: str, timeout_s: float | None = None) -> str:
    """What git says of ``folder`` (default: the current one), without the line's end; bytes as in file names.

    Raises:
        GitError: when it fails.
    """
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, and a revision after --end-of-options.
            ["git", "--no-optional-locks", "-C", str(folder or "."), *arguments],  # noqa: S607 - the user's own.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=outside_hooks(),
            timeout=timeout_s,
            check=True,
        )
    except FileNotFoundError as error:
        raise NoGitError(str(error)) from error
    except (OSError, subprocess.SubprocessError) as error:
        said = os.fsdecode(getattr(error, "stderr", None) or b"").strip()
        raise GitError(said.splitlines()[-1] if said else "") from error
    return os.fsdecode(done.stdout).rstrip("\n")


def outside_hooks() -> dict[str, str]:
    """The environment without what git tells its hooks."""
    return {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}
