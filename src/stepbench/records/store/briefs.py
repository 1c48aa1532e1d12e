"""Many runs at once: of each only what a list or a case's history shows, which is read in a fraction of the time."""

from __future__ import annotations

import contextlib
import datetime as dt
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from stepbench.errors import StepbenchError
from stepbench.records.bounds import Duration, Positive
from stepbench.records.cases import Case
from stepbench.records.machine import Environment
from stepbench.records.run import Failure
from stepbench.records.store import files
from stepbench.records.store.names import INDEX_FILE, LATEST, RUN_FILE

INDEX_LAYOUT = 1
"""To be raised when the fields below change."""
_WithZone = Annotated[dt.datetime, Meta(tz=True)]


class BriefBlock(msgspec.Struct, frozen=True, gc=False):
    """As ``measurement.Block``."""

    steps: Positive
    seconds: Duration


class BriefReplicate(msgspec.Struct, frozen=True):
    """As ``measurement.Replicate``."""

    blocks: tuple[BriefBlock, ...] = ()


class BriefCase(msgspec.Struct, frozen=True):
    """As ``measurement.Measurement``."""

    case: Case
    replicates: tuple[BriefReplicate, ...] = ()
    failure: Failure | None = None


class BriefPlan(msgspec.Struct, frozen=True):
    """As ``spec.Plan``."""

    cases: tuple[Case, ...]


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """As ``Run``, with the fields that a list or a history needs."""

    schema: int
    run_id: str
    started: _WithZone
    finished: _WithZone | None = None
    data: str
    environment: Environment
    plan: BriefPlan
    measurements: tuple[BriefCase, ...] = ()
    """While the run is unfinished, those of when its file was last written."""
    name: str = ""
    """Of its folder, which finds it."""


class Briefs(msgspec.Struct, frozen=True):
    """The runs that were found, in order of their start, and a sentence for each that cannot be read."""

    runs: tuple[Brief, ...]
    problems: tuple[str, ...]


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """A run as it was read when its file had that size and that time of its last change, in ns."""

    size: int
    changed: int
    brief: Brief


class _Index(msgspec.Struct, frozen=True):
    layout: int
    entries: dict[str, _Entry]


def read_briefs(root: Path) -> Briefs:
    """All runs whose folders lie in ``root``, whatever else lies there too.

    What was read is kept in a file of its own: a thousand runs may be a gigabyte.
    """
    known = _read_index(root)
    entries: dict[str, _Entry] = {}
    problems = []
    for path, size, changed in _run_files(root):
        name = path.parent.name
        entry = known.get(name)
        if entry and (entry.size, entry.changed) == (size, changed):
            entries[name] = entry
            continue
        try:
            entries[name] = _Entry(size, changed, _read(path))
        except StepbenchError as error:
            problems.append(str(error))
    if entries != known:
        _write_index(root, entries)
    runs = (entry.brief for entry in entries.values())
    return Briefs(tuple(sorted(runs, key=lambda run: (run.started, run.name))), tuple(problems))


def _run_files(root: Path) -> Iterator[tuple[Path, int, int]]:
    """Each with its size and the time of its last change."""
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return
    for folder in folders:
        with contextlib.suppress(OSError):
            found = (folder / RUN_FILE).stat()
            if stat.S_ISREG(found.st_mode) and folder.name != LATEST:
                yield folder / RUN_FILE, found.st_size, found.st_mtime_ns


def _read(path: Path) -> Brief:
    name = path.parent.name
    if not name.isprintable():
        raise StepbenchError(f"The folder {name!r} is left out: give it a printable name.")
    return msgspec.structs.replace(files.decode(path, Brief), name=name)


def _read_index(root: Path) -> dict[str, _Entry]:
    """Nothing from one that is missing, damaged or of another version."""
    try:
        index = msgspec.msgpack.decode((root / INDEX_FILE).read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, StepbenchError):
        return {}
    return index.entries if index.layout == INDEX_LAYOUT else {}


def _write_index(root: Path, entries: dict[str, _Entry]) -> None:
    with contextlib.suppress(StepbenchError):  # Where nothing can be written, reading takes longer.
        files.write(root / INDEX_FILE, msgspec.msgpack.encode(_Index(INDEX_LAYOUT, entries)))
