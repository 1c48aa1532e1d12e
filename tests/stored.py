"""Stored runs, and disks that take no more, for tests of the store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from builders import ENVIRONMENT, make_case, make_failed, make_measurement, make_plan, make_run

from stepbench.errors import StepbenchError
from stepbench.records.cases import Plan
from stepbench.records.run import Event
from stepbench.records.store import JOURNAL_FILE, Journal, Run, Store

GRAPH = make_case("graph")
XLA = make_case("xla")
PLAN = make_plan([GRAPH, XLA])
FINISHED = make_run(make_measurement(GRAPH, [0.1, 0.2], [0.3, 0.4]), make_failed(XLA))


def begin(store: Store, plan: Plan = PLAN) -> Run:
    return store.create(plan, ENVIRONMENT, command=("stepbench", "run"), data="synthetic")


def journal(store: Store, run: Run, events: list[Event]) -> Path:
    """Write ``events`` to the journal of ``run`` and give its path."""
    with Journal(store.folder(run.run_id)) as opened:
        for event in events:
            opened.append(event)
        opened.sync()
    return store.folder(run.run_id) / JOURNAL_FILE


def journal_on_a_full_disk(store: Store, run: Run) -> Journal:
    """The journal of ``run`` as it is once the disk has filled up."""
    opened = Journal(store.folder(run.run_id))
    opened._file.close()
    opened._file = Path("/dev/full").open("ab")  # noqa: SIM115 - the journal closes it.
    return opened


def refusal_of(store: Store, name: str) -> str:
    with pytest.raises(StepbenchError) as refusal:
        store.read(name)
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


class Memo(Journal):
    """Takes the events that a journal would."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def append(self, event: Event) -> None:
        self.events.append(event)

    def sync(self) -> None:
        pass


class FullDisk:
    """Stands for a device on which nothing more can be written."""

    def __call__(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
