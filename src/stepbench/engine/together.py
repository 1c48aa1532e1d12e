"""Things done at the same time, where nothing is timed: to build and trace a step takes one processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = min(2, len(os.sched_getaffinity(0)))
"""Not more: each may need as much memory as a whole training, and its heavy operations use every processor."""


def together(tasks: Iterable[Callable[[], None]], give_up: Callable[[], None]) -> None:
    """Do all tasks, a few at a time, in threads.

    No task may start a process, which the kernel would end together with its thread.

    Args:
        tasks: begun in their order.
        give_up: has those end soon that are being done; called when one raises, or the user interrupts.

    Raises:
        BaseException: of the first task that raised; the others are given up.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for begun in [threads.submit(task) for task in tasks]:
                begun.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            give_up()
            raise
