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


CUDA = 'nvidia-cudnn-cu12<10.0,>=9.3.0.75; extra == "and-cuda"'
FITTING: dict[str, list[tuple[str, ...]]] = {
    "nothing is installed": [],
    "names are spelled in other ways": [
        ("tensorflow", "2.21.0", "ML_Dtypes<1.0.0,>=0.5.1", "google.pasta>=0.1.1"),
        ("ml-dtypes", "0.5.4"),
        ("google-pasta", "0.2"),
    ],
    "it holds elsewhere only": [("keras", "3.15", 'winthings>=1; sys_platform == "win32"', 'pytest; extra == "test"')],
    "a development version comes after": [("keras", "3.15", "numpy>=1.26"), ("numpy", "2.4.0.dev0")],
    "it is rubbish": [("keras", "3.15", "not a requirement!", "numpy>=1.26"), ("numpy", "of my own")],
}
NOT_FITTING: dict[str, tuple[list[tuple[str, ...]], Misfit]] = {
    "a plugin is missing": (
        [("stepbench", "0.1.0", "tensorboard-plugin-profile>=2.20", "rich>=13.7"), ("rich", "14.0")],
        Misfit("stepbench 0.1.0", "tensorboard-plugin-profile>=2.20", None),
    ),
    "versions do not fit": (
        [
            ("tensorboard-plugin-profile", "2.24.2", "xprof==2.24.2"),
            ("xprof", "2.20.1", "protobuf>=3.19.6"),
            ("protobuf", "5.29"),
        ],
        Misfit("tensorboard-plugin-profile 2.24.2", "xprof==2.24.2", "2.20.1"),
    ),
    # CUDA's libraries may come from elsewhere, but must fit.
    "CUDA's library is old": (
        [
            ("tensorflow", "2.21.0", CUDA, 'nvidia-nccl-cu12<3.0,>=2.27.7; extra == "and-cuda"'),
            ("nvidia-cudnn-cu12", "8.9.7.29"),
        ],
        Misfit("tensorflow 2.21.0", "nvidia-cudnn-cu12<10.0,>=9.3.0.75", "8.9.7.29"),
    ),
}


@pytest.mark.parametrize("installed", FITTING.values(), ids=FITTING)
def test_what_fits_is_passed(installed: list[tuple[str, ...]], tmp_path: Path) -> None:
    for name, version, *requires in installed:
        plant(tmp_path, name, version, *requires)
    assert misfits(tmp_path) == []


@pytest.mark.parametrize(("installed", "misfit"), NOT_FITTING.values(), ids=NOT_FITTING)
def test_what_does_not_fit_is_told(installed: list[tuple[str, ...]], misfit: Misfit, tmp_path: Path) -> None:
    for name, version, *requires in installed:
        plant(tmp_path, name, version, *requires)
    assert misfits(tmp_path) == [misfit]


@pytest.mark.parametrize("content", [b"", b"Name: xprof\n", b"\xff\xfe"])
def test_a_half_removed_distribution_is_none(tmp_path: Path, content: bytes) -> None:
    plant(tmp_path, "tensorboard-plugin-profile", "2.24.2", "xprof==2.24.2")
    (tmp_path / "xprof-2.24.2.dist-info").mkdir()
    (tmp_path / "xprof-2.24.2.dist-info" / "METADATA").write_bytes(content)
    assert misfits(tmp_path) == [Misfit("tensorboard-plugin-profile 2.24.2", "xprof==2.24.2", None)]


def test_every_distribution_that_is_looked_at_exists_here() -> None:
    from importlib.metadata import version

    assert all(version(name) for name in LOOKED_AT)
