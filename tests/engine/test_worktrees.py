from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import soon
from repositories import commit, git, make_repository

from stepbench.engine import worktrees
from stepbench.engine.worktrees import check_revision, checked_out, commits_between, root_of
from stepbench.errors import StepbenchError


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits, of which the second is tagged; on a branch, and clean."""
    folder = make_repository(tmp_path_factory.mktemp("pattern") / "repository")
    for number in (1, 2, 3):
        commit(folder, f"Commit {number}", step=f"{number}\n")
        if number == 2:
            git(folder, "tag", "second")
    return folder


@pytest.fixture
def repository(pattern: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pattern, tmp_path / "repository"))


def state(repository: Path) -> tuple[str, ...]:
    """All that git says of the user's tree, and what the files hold."""
    said = (
        git(repository, *words.split())
        for words in ("status --porcelain --ignored", "rev-parse HEAD", "symbolic-ref HEAD", "diff", "diff --cached")
    )
    files = (path.read_text() for path in sorted(repository.iterdir()) if path.is_file())
    return (*said, *files, git(repository, "worktree", "list"), git(repository, "branch", "--all"))


def make_dirty(repository: Path) -> None:
    (repository / "step.py").write_text("changed\n")
    (repository / "new.py").write_text("untracked\n")
    (repository / "staged.py").write_text("staged\n")
    git(repository, "add", "staged.py")


def test_base_and_head_are_checked_out_side_by_side(repository: Path) -> None:
    with checked_out(repository, "second", "HEAD") as (base, head):
        assert (base.root / "step.py").read_text() == "2\n"
        assert (head.root / "step.py").read_text() == "3\n"
        assert (base.revision.name, base.revision.dirty) == ("second", False)
        assert base.revision.commit == git(repository, "rev-parse", "second").strip()
        assert head.revision.commit == git(repository, "rev-parse", "HEAD").strip()
        assert repository not in (base.root, head.root)


def test_the_files_that_differ_are_known_with_those_that_are_not_committed(repository: Path) -> None:
    with checked_out(repository, "second", "HEAD") as sides:
        assert {side.changed for side in sides} == {frozenset({"step.py"})}
    with checked_out(repository, "HEAD", None) as sides:
        assert {side.changed for side in sides} == {frozenset()}
    make_dirty(repository)
    git(repository, "mv", "staged.py", "with a blank and ü.py")
    with checked_out(repository, "HEAD", None) as sides:
        assert {side.changed for side in sides} == {frozenset({"step.py", "new.py", "with a blank and ü.py"})}
    with checked_out(repository, "second", "HEAD") as sides:
        assert {side.changed for side in sides} == {frozenset({"step.py"})}, "of commits alone"


def test_the_users_tree_is_left_alone_and_the_worktrees_are_removed(repository: Path) -> None:
    make_dirty(repository)
    before = state(repository)
    with checked_out(repository, "HEAD~2", "second") as sides:
        assert len(git(repository, "worktree", "list").splitlines()) == 3
        for side in sides:
            assert not (side.root / "new.py").exists()
            (side.root / "step.py").write_text("written by a step\n")
            (side.root / "made.txt").write_text("made by a step\n")
        assert state(repository)[:-2] == before[:-2]
    assert state(repository) == before
    assert not any(side.root.parent.exists() for side in sides)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_worktrees_are_removed_after_an_exception_too(repository: Path, error: type[BaseException]) -> None:
    before = state(repository)
    seen: list[Path] = []

    def fail() -> None:
        with checked_out(repository, "HEAD~1", "HEAD") as sides:
            seen.extend(side.root for side in sides)
            raise error

    with pytest.raises(error):
        fail()
    assert state(repository) == before
    assert [path for path in seen if path.exists()] == []


def test_worktrees_of_the_user_stay_even_where_their_folder_is_not_to_be_seen(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "elsewhere"), "HEAD")
    (tmp_path / "elsewhere").rename(tmp_path / "unmounted")
    with checked_out(repository, "HEAD~1", "HEAD"):
        pass
    (tmp_path / "unmounted").rename(tmp_path / "elsewhere")
    assert git(tmp_path / "elsewhere", "status", "--porcelain") == ""
    assert len(git(repository, "worktree", "list").splitlines()) == 2


def test_the_index_is_left_alone_when_a_hook_says_where_it_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(repository)
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    with checked_out(repository, "HEAD~2", None) as (base, head):
        assert (base.root / "step.py").read_text() == "1\n"
        assert not head.revision.dirty
    for variable in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(variable)
    assert state(repository) == before


def test_the_working_tree_is_head_where_it_lies_and_marked_when_changed(repository: Path) -> None:
    with checked_out(repository, "second", None) as (_, head):
        assert (head.root, head.revision.name, head.revision.dirty) == (repository, "", False)
    make_dirty(repository)
    with checked_out(repository, "second", None) as (_, head):
        assert (head.root / "step.py").read_text() == "changed\n"
        assert (head.revision.commit, head.revision.dirty) == (git(repository, "rev-parse", "HEAD").strip(), True)


def test_a_folder_in_the_repository_will_do(repository: Path) -> None:
    (repository / "inner").mkdir()
    assert root_of(repository / "inner") == repository
    with checked_out(repository / "inner", "HEAD", None) as (_, head):
        assert head.root == repository


def test_a_process_imports_from_its_side_first(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    with checked_out(repository, "HEAD", None) as (base, _):
        found = base.surroundings()
        assert found.environment == {"PYTHONPATH": os.pathsep.join([f"{base.root}/src", str(base.root), "/mine"])}
        assert found.folder == base.root


@pytest.mark.parametrize("name", ["nope", "--help", "", "HEAD^{tree}"])
def test_a_revision_that_is_none_is_refused_in_one_sentence(repository: Path, name: str) -> None:
    before = state(repository)
    for sides in ((name, None), ("HEAD", name)):
        with pytest.raises(StepbenchError) as caught, checked_out(repository, *sides):
            pytest.fail("there is no such revision")
        message = str(caught.value)
        assert message.startswith(f"There is no revision {name!r} in {repository}: name a commit, a branch or a tag")
        assert len(message.splitlines()) == 1
    assert state(repository) == before


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_outside_any_repository_is_refused_in_one_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StepbenchError) as caught, checked_out(tmp_path / folder, "HEAD", None):
        pytest.fail("there is no repository")
    assert str(caught.value).startswith(f"{tmp_path / folder} lies in no git repository (")
    assert len(str(caught.value).splitlines()) == 1


def test_without_git_one_sentence_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(StepbenchError, match="There is no git: install it"):
        root_of(repository)


def between(repository: Path, base: str, head: str | None) -> tuple[str, ...]:
    with checked_out(repository, base, head) as (first, second):
        return commits_between(first, second)


def test_the_commits_between_are_those_of_head_newest_first(repository: Path) -> None:
    found = between(repository, "HEAD~2", None)
    assert [line.split(" ", 1)[1] for line in found] == ["Commit 3", "Commit 2"]
    assert git(repository, "rev-parse", "HEAD").startswith(found[0].split(" ")[0])
    assert between(repository, "HEAD", None) == ()
    assert between(repository, "HEAD", "HEAD~1") == ()


def test_a_base_on_another_branch_hides_none_of_heads_commits(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "other", "HEAD~2")
    commit(repository, "Elsewhere")
    assert [line.split(" ", 1)[1] for line in between(repository, "other", "main")] == ["Commit 3", "Commit 2"]


def test_no_more_commits_are_named_than_can_be_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktrees, "MOST_COMMITS", 1)
    assert len(between(repository, "HEAD~2", None)) == 1


def test_a_subject_with_odd_characters_is_one_line_that_can_be_stored(repository: Path) -> None:
    tree = git(repository, "rev-parse", "HEAD^{tree}").strip()
    parent = git(repository, "rev-parse", "HEAD").strip()
    who = "Tester <tester@example.com> 1700000000 +0000"
    head = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n".encode()
    odd = subprocess.run(
        ["git", "-C", str(repository), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=head + "one\u2028two".encode() + b" caf\xe9\n",
        capture_output=True,
        check=True,
    )
    (line,) = between(repository, "HEAD", odd.stdout.decode().strip())
    assert line.endswith(" one\u2028two caf\ufffd")
    assert line.encode()


def test_a_folder_whose_name_is_no_unicode_will_do(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / os.fsdecode(b"caf\xe9"))
    commit(repository, "One", step="1\n")
    with checked_out(repository, "HEAD", None) as (base, head):
        assert (head.root, (base.root / "step.py").read_text()) == (repository, "1\n")


KILLED = """
import os, signal, sys
from pathlib import Path
from stepbench.engine.worktrees import check_revision, checked_out
with checked_out(Path(sys.argv[1]), "HEAD", None) as (base, head):
    print(base.root, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_worktrees_are_removed_even_after_sigkill(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, repository], capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip())
    assert done.returncode == -signal.SIGKILL
    assert folder.name == "base"
    assert soon(lambda: not folder.parent.exists(), 20)
    assert soon(lambda: len(git(repository, "worktree", "list").splitlines()) == 1, 20)


def test_whether_there_is_a_revision_shows_without_checking_it_out(repository: Path) -> None:
    check_revision(repository, "second")
    with pytest.raises(StepbenchError, match="no revision 'nope'"):
        check_revision(repository, "nope")
    assert len(git(repository, "worktree", "list").splitlines()) == 1
