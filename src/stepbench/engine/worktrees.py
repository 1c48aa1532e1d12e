"""Two revisions of the user's repository side by side, in folders of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stepbench.engine.worker import Surroundings
from stepbench.errors import StepbenchError
from stepbench.probes.git import GitError, NoGitError, git, outside_hooks
from stepbench.probes.hardware import clean
from stepbench.records.cases import Plan
from stepbench.records.gate import Revision
from stepbench.records.settings import Setting

MOST_COMMITS = 50
"""Named between base and head."""
# Our own alone: pruning would also drop the user's on a disk that is not mounted. Forced twice, since git locks a
# worktree while it adds one.
REMOVE_WORKTREES = """
read -r _
rm -rf "$2"
git -C "$1" worktree list --porcelain | sed -n 's/^worktree //p' | while read -r tree; do
  case "$tree" in "$2"/*) git -C "$1" worktree remove --force --force "$tree" ;; esac
done
"""


@dataclass(frozen=True)
class Checkout:
    """One revision, checked out."""

    revision: Revision
    root: Path
    elsewhere: Path | None = None
    """The user's own tree, where this is not it."""
    changed: frozenset[str] = frozenset()
    """The files that differ from the other revision's, as paths from ``root``."""

    def surroundings(self, settings: tuple[Setting, ...] = ()) -> Surroundings:
        """What a process finds around it to import from this revision before anything installed."""
        own = [str(self.root / "src"), str(self.root)]
        path = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
        return Surroundings({"PYTHONPATH": path}, self.root, settings)

    def located(self, place: str) -> str:
        """The place of a workload or plugin here: a file in the user's own tree is this revision's file."""
        file, ending, rest = place.partition(".py")
        path = Path(f"{file}{ending}")
        if self.elsewhere is None or not ending or not path.is_relative_to(self.elsewhere):
            return place
        return f"{self.root / path.relative_to(self.elsewhere)}{rest}"

    def plan(self, plan: Plan) -> Plan:
        """The same plan about this revision's files."""
        workloads = {name: self.located(place) for name, place in plan.workloads.items()}
        return msgspec.structs.replace(plan, workloads=workloads, plugins=tuple(map(self.located, plan.plugins)))


@contextlib.contextmanager
def checked_out(repository: Path, base: str, head: str | None) -> Iterator[tuple[Checkout, Checkout]]:
    """Base and head of the repository around ``repository``; the user's own tree is left alone.

    Args:
        repository: a folder in it.
        base: a revision as git names them.
        head: likewise; the working tree as it is, with what is not committed, if None.

    Raises:
        StepbenchError: when there is no repository or no such revision.
    """
    root = root_of(repository)
    with _folder_for_worktrees(root) as folder:
        left = _add_worktree(root, folder / "base", base)
        right = _working_tree(root) if head is None else _add_worktree(root, folder / "head", head)
        changed = _files_between(left, right)
        yield replace(left, changed=changed), replace(right, changed=changed)


def check_revision(repository: Path, name: str) -> None:
    """Find out before the work whether there is a revision of that name.

    Raises:
        StepbenchError: when there is no repository or no such revision.
    """
    _commit(root_of(repository), name)


def root_of(repository: Path) -> Path:
    """The top folder of the repository around ``repository``.

    Raises:
        StepbenchError: when there is none.
    """
    return Path(_git(repository, "rev-parse", "--show-toplevel", otherwise=f"{repository} lies in no git repository"))


def commits_between(base: Checkout, head: Checkout) -> tuple[str, ...]:
    """Abbreviated hash and subject of each commit that ``head`` has and ``base`` has not, newest first."""
    log = _git(
        head.root,
        *("log", "--format=%h %s", f"--max-count={MOST_COMMITS}", f"{base.revision.commit}..{head.revision.commit}"),
        otherwise="git cannot list the commits between base and head",
    )
    # A subject may hold what Python takes for the end of a line.
    return tuple(filter(None, clean(log).split("\n")))


@contextlib.contextmanager
def _folder_for_worktrees(root: Path) -> Iterator[Path]:
    """A temporary folder that a process of its own removes, with the worktrees in it, however this one ends."""
    folder = os.path.realpath(tempfile.mkdtemp(prefix="stepbench-gate-"))
    keeper = subprocess.Popen(  # noqa: S603 - a fixed script; the paths are arguments.
        ["sh", "-c", REMOVE_WORKTREES, "sh", root, folder],  # noqa: S607 - the system's own shell.
        stdin=subprocess.PIPE,  # Its end, which comes even with SIGKILL, is the sign.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=outside_hooks(),
        start_new_session=True,  # Ctrl-C is for this process alone.
    )
    try:
        yield Path(folder)
    finally:
        keeper.communicate()


def _add_worktree(root: Path, folder: Path, name: str) -> Checkout:
    commit = _commit(root, name)
    _git(root, "worktree", "add", "--detach", "--quiet", str(folder), commit, otherwise=f"git cannot check out {name}")
    return Checkout(Revision(name, commit), folder, elsewhere=root)


def _working_tree(root: Path) -> Checkout:
    dirty = bool(_git(root, "status", "--porcelain", otherwise="git cannot tell what has changed"))
    return Checkout(Revision("", _commit(root, "HEAD"), dirty), root)


def _files_between(base: Checkout, head: Checkout) -> frozenset[str]:
    """The files that differ between the two, untracked ones of a working tree included."""
    commits = [base.revision.commit, *([head.revision.commit] if head.elsewhere else [])]
    otherwise = "git cannot list the files that differ between base and head"
    said = [_git(head.root, "diff", "--name-only", "--no-renames", "-z", *commits, otherwise=otherwise)]
    if not head.elsewhere:
        said.append(_git(head.root, "ls-files", "--others", "--exclude-standard", "-z", otherwise=otherwise))
    return frozenset(path for paths in said for path in paths.split("\0") if path)


def _commit(root: Path, name: str) -> str:
    otherwise = f"There is no revision {name!r} in {root}: name a commit, a branch or a tag that is fetched"
    return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", otherwise=otherwise)


def _git(folder: Path, *arguments: str, otherwise: str) -> str:
    """What git says; what is wrong if it refuses."""
    try:
        return git(folder, *arguments)
    except NoGitError:
        raise StepbenchError("There is no git: install it to compare revisions.") from None
    except GitError as error:
        raise StepbenchError(f"{otherwise}{f' ({error})' if str(error) else ''}.") from error
