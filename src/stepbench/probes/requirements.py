"""Compares what is installed with what its authors require of each other. Reads metadata, imports none of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from stepbench.records.doctor import Misfit

LOOKED_AT = (
    *("stepbench", "tensorflow", "keras", "numpy", "ml-dtypes", "protobuf"),
    *("tensorboard", "tensorboard-plugin-profile", "xprof"),
)
"""Distributions whose requirements are checked, if they are installed."""
_CUDA_EXTRA = "and-cuda"
"""TensorFlow's extra with NVIDIA's libraries. They may come from elsewhere, so that none of them may be missed."""


def read_misfits(folders: Sequence[str] | None = None) -> tuple[Misfit, ...]:
    """The requirements that are not met among the distributions that matter.

    Args:
        folders: where distributions are looked for; where Python does if None.
    """
    installed = (found for name in LOOKED_AT if (found := _find(name, folders)))
    return tuple(misfit for distribution in installed for misfit in _misfits_of(distribution, folders))


def _misfits_of(distribution: Distribution, folders: Sequence[str] | None) -> Iterator[Misfit]:
    name = f"{distribution.metadata['Name']} {distribution.version}"
    for requirement in _requirements(distribution):
        needed = _applies(requirement, "")
        if not needed and not _applies(requirement, _CUDA_EXTRA):
            continue
        found = _find(requirement.name, folders)
        wanted = f"{requirement.name}{requirement.specifier}"
        if found is None:
            if needed:
                yield Misfit(name, wanted, None)
        elif not _fits(found.version, requirement.specifier):
            yield Misfit(name, wanted, found.version)


def _requirements(distribution: Distribution) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        try:
            yield Requirement(line)
        except InvalidRequirement:  # Of another age; pip would not read it either.
            continue


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fits(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # Built by hand; nobody can say.
        return True


def _find(name: str, folders: Sequence[str] | None) -> Distribution | None:
    where = list(sys.path if folders is None else folders)
    return next((found for found in Distribution.discover(name=name, path=where) if _is_whole(found)), None)


def _is_whole(distribution: Distribution) -> bool:
    """What was half removed may leave a folder without metadata."""
    try:
        return bool(distribution.metadata["Name"] and distribution.version)
    except (KeyError, OSError, ValueError):
        return False
