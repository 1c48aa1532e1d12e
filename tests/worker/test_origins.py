from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from stepbench.errors import StepbenchError
from stepbench.worker.origins import check_origins, imported_from


class Lazy(ModuleType):
    """As TensorFlow has some, which load when they are asked for anything."""

    def __getattr__(self, name: str) -> object:
        pytest.fail(f"it was asked for {name}")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    for side in ("base", "tree"):
        (tmp_path / side / "lib").mkdir(parents=True)
        (tmp_path / side / "lib" / "both.py").touch()
    (tmp_path / "tree" / "lib" / "ignored.py").touch()
    return tmp_path / "base", tmp_path / "tree"


def plant(monkeypatch: pytest.MonkeyPatch, name: str, file: Path) -> None:
    module = ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_revisions_own_code_is_fine_with_what_git_ignores_and_what_is_lazy(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tree = sides
    plant(monkeypatch, "planted", base / "lib" / "both.py")
    plant(monkeypatch, "planted_too", tree / "lib" / "ignored.py")
    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    monkeypatch.setitem(sys.modules, "blocked", None)
    check_origins(base, tree)
    assert imported_from(base) == ("lib/both.py",)
    assert imported_from(base, base / "train.py") == ("lib/both.py", "train.py")


def test_code_of_another_revision_is_refused_also_through_a_link(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tree = sides
    plant(monkeypatch, "planted", base / "lib" / "both.py")
    (tree.parent / "installed").symlink_to(tree / "lib")
    plant(monkeypatch, "stranger", tree.parent / "installed" / "both.py")
    with pytest.raises(StepbenchError, match=f"stranger is imported from {tree / 'lib' / 'both.py'}, which is another"):
        check_origins(base, tree)


def test_a_revision_of_which_nothing_is_imported_is_refused(sides: tuple[Path, Path]) -> None:
    with pytest.raises(StepbenchError, match="Nothing of this revision is imported"):
        check_origins(*sides)


def test_a_script_is_of_the_revision_in_which_it_was_run(sides: tuple[Path, Path]) -> None:
    base, tree = sides
    check_origins(base, tree, base / "lib" / "both.py")
    with pytest.raises(StepbenchError, match="Nothing of this revision is imported"):
        check_origins(base, tree, tree / "lib" / "both.py")
