from __future__ import annotations

from pathlib import Path

import pytest

from stepbench.probes.requirements import LOOKED_AT, read_misfits
from stepbench.records.doctor import Misfit


def plant(folder: Path, name: str, version: str, *requires: str) -> None:
    """A distribution of which only the metadata is there."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {requirement}" for requirement in requires)]
    (place / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def misfits(folder: Path) -> list[Misfit]:
    return list(read_misfits([str(folder)]))


def test_what_is_installed_here_fits() -> None:
    assert read_misfits() == ()


def test_nothing_is_missed_where_nothing_is_installed(tmp_path: Path) -> None:
    assert misfits(tmp_path) == []


def test_a_plugin_that_is_missing(tmp_path: Path) -> None:
    plant(tmp_path, "stepbench", "0.1.0", "tensorboard-plugin-profile>=2.20", "rich>=13.7")
    plant(tmp_path, "rich", "14.0")
    assert misfits(tmp_path) == [Misfit("stepbench 0.1.0", "tensorboard-plugin-profile>=2.20", None)]


def test_versions_that_do_not_fit(tmp_path: Path) -> None:
    plant(tmp_path, "tensorboard-plugin-profile", "2.24.2", "xprof==2.24.2")
    plant(tmp_path, "xprof", "2.20.1", "protobuf>=3.19.6")
    plant(tmp_path, "protobuf", "5.29")
    assert misfits(tmp_path) == [Misfit("tensorboard-plugin-profile 2.24.2", "xprof==2.24.2", "2.20.1")]


def test_names_are_found_however_they_are_spelled(tmp_path: Path) -> None:
    plant(tmp_path, "tensorflow", "2.21.0", "ML_Dtypes<1.0.0,>=0.5.1", "google.pasta>=0.1.1")
    plant(tmp_path, "ml-dtypes", "0.5.4")
    plant(tmp_path, "google-pasta", "0.2")
    assert misfits(tmp_path) == []


def test_what_holds_elsewhere_only_is_not_required(tmp_path: Path) -> None:
    plant(tmp_path, "keras", "3.15", 'winthings>=1; sys_platform == "win32"', 'pytest; extra == "test"')
    assert misfits(tmp_path) == []


def test_cuda_libraries_may_come_from_elsewhere_but_must_fit(tmp_path: Path) -> None:
    wanted = 'nvidia-cudnn-cu12<10.0,>=9.3.0.75; extra == "and-cuda"'
    plant(tmp_path, "tensorflow", "2.21.0", wanted, 'nvidia-nccl-cu12<3.0,>=2.27.7; extra == "and-cuda"')
    plant(tmp_path, "nvidia-cudnn-cu12", "8.9.7.29")
    assert misfits(tmp_path) == [Misfit("tensorflow 2.21.0", "nvidia-cudnn-cu12<10.0,>=9.3.0.75", "8.9.7.29")]


def test_a_development_version_satisfies_what_it_comes_after(tmp_path: Path) -> None:
    plant(tmp_path, "keras", "3.15", "numpy>=1.26")
    plant(tmp_path, "numpy", "2.4.0.dev0")
    assert misfits(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"Name: xprof\n", b"\xff\xfe"])
def test_a_half_removed_distribution_is_none(tmp_path: Path, content: bytes) -> None:
    plant(tmp_path, "tensorboard-plugin-profile", "2.24.2", "xprof==2.24.2")
    (tmp_path / "xprof-2.24.2.dist-info").mkdir()
    (tmp_path / "xprof-2.24.2.dist-info" / "METADATA").write_bytes(content)
    assert misfits(tmp_path) == [Misfit("tensorboard-plugin-profile 2.24.2", "xprof==2.24.2", None)]


def test_rubbish_is_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "keras", "3.15", "not a requirement!", "numpy>=1.26")
    plant(tmp_path, "numpy", "of my own")
    assert misfits(tmp_path) == []


def test_every_distribution_that_is_looked_at_exists_here() -> None:
    from importlib.metadata import version

    assert all(version(name) for name in LOOKED_AT)
