"""Processes, looked at from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def soon(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ended(pid: int) -> bool:
    try:
        # In a container nobody may ask how an orphan ended.
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def workers_of(parent: int) -> list[psutil.Process]:
    """Workers and what they are forked from, real or fake: they are told the parent's number last.

    What has ended has no command line any more.
    """
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line: list[str] = process.info["cmdline"] or []
        if line[-1:] == [str(parent)] and any("worker" in part or "fork_server" in part for part in line):
            found.append(process)
    return found
