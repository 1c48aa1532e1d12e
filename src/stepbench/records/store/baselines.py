"""Baselines: runs kept under a name of the user's, to compare later ones with."""

from __future__ import annotations

import re
from pathlib import Path

from stepbench.errors import StepbenchError
from stepbench.records.store import files
from stepbench.records.store.briefs import Briefs, read_briefs
from stepbench.records.store.names import BASELINES_FOLDER, LATEST, RUN_FILE
from stepbench.records.store.runs import Run, Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def save_baseline(store: Store, name: str, run_name: str, *, replace: bool) -> Path:
    """Keep a copy of a finished run's ``run.json`` under ``name``, and give its path.

    Raises:
        StepbenchError: when the name cannot be one or is taken, or the run is missing, damaged or unfinished.
    """
    check_baseline_name(store, name)
    path = store.root / BASELINES_FOLDER / name / RUN_FILE
    run = store.read(run_name)
    if not run.finished:
        raise StepbenchError(
            f"Run {run.run_id} is unfinished: complete it with 'stepbench run --resume {run_name}' first."
        )
    if files.is_file(path) and not replace:
        raise StepbenchError(f"There is a baseline {name!r} already: choose another name, or replace it with --force.")
    files.write(path, files.read(store.locate(run_name) / RUN_FILE))
    return path


def read_baseline(store: Store, name: str) -> Run:
    """A baseline by its name.

    Raises:
        StepbenchError: when there is none, or it cannot be understood.
    """
    folder = store.root / BASELINES_FOLDER / name
    if not _NAME.fullmatch(name) or not files.is_file(folder / RUN_FILE):
        raise StepbenchError(f"There is no baseline {name!r} in {store.root}: see 'stepbench baseline list'.")
    return store.read(str(folder))


def check_baseline_name(store: Store, name: str) -> None:
    """Refuse a name that no folder could have everywhere, or that already means a run.

    Raises:
        StepbenchError: when it is one.
    """
    if not _NAME.fullmatch(name) or name == LATEST:
        raise StepbenchError(
            f"{name[:80]!r} is no name for a baseline: use up to 80 letters, digits, '.', '_' and '-', "
            "beginning with a letter or a digit."
        )
    if files.is_file(store.root / name / RUN_FILE):
        raise StepbenchError(f"{name!r} is the id of a run, which would hide the baseline: choose another name.")


def baselines_of(store: Store) -> Briefs:
    """All baselines, each with its name."""
    return read_briefs(store.root / BASELINES_FOLDER)
