"""A process that has imported TensorFlow and Keras and done nothing else, from which workers are forked.

Importing them takes seconds of processor time, once a replicate instead of once a case. Run as a script, so that
nothing of stepbench is imported here: each worker imports that of its own checkout. Forking a process is safe only
while no thread of it can hold a lock and no driver of a GPU is open, which is looked at before any worker is forked.

Started by :mod:`stepbench.engine.processes` with a socket's descriptor and the parent's process id. The socket carries
JSON: ``{"argv", "environment", "folder"}``, with the descriptors of orders, replies and log, is answered by ``{"pid"}``
with a descriptor of the process; ``{"reap": pid}`` by ``{"status"}``. So a number is never another process's before the
parent knows that the worker has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import random
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
MADV_POPULATE_READ = 22
"""Since Linux 5.14; an older one refuses it."""
WORKER = "stepbench.worker.main"
LONGEST_MESSAGE = 1 << 20


def main() -> None:
    """Fork workers until the parent closes the socket, or is gone."""
    descriptor, parent = (int(argument) for argument in sys.argv[1:3])
    _die_with(parent)
    server = socket.socket(fileno=descriptor)
    # Its threads of BLAS lie idle, and are made anew in a forked process.
    import numpy as np

    threads = _threads()
    started = time.perf_counter()
    import keras  # noqa: F401 - imported for those that are forked.
    import tensorflow as tf  # noqa: F401 - likewise.

    import_s = time.perf_counter() - started
    gc.collect()
    gc.freeze()  # What is here is not to be copied because a collection looked at it.
    resident = _resident_files()
    _send(server, {"refused": _unforkable(threads), "import_s": import_s})
    path = os.environ.get("PYTHONPATH", "")
    while True:
        message, descriptors, *_ = socket.recv_fds(server, LONGEST_MESSAGE, 3)
        if not message:
            return
        order = json.loads(message)
        if "reap" in order:
            _send(server, {"status": os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1])})
            continue
        mine = os.getpid()
        pid = os.fork()
        if not pid:
            server.close()
            _touch(resident)
            random.seed()
            np.random.seed()  # noqa: NPY002 - what users draw from without one of their own.
            _become_worker(order, descriptors, path, mine)
        for one in descriptors:
            os.close(one)
        _send_process(server, pid)


def _become_worker(order: dict[str, Any], descriptors: list[int], path: str, parent: int) -> None:
    os.setsid()  # Ctrl-C is for the parent alone to handle.
    orders, replies, log = descriptors
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    _follow(path, os.environ.get("PYTHONPATH", ""))
    sys.modules.pop("__mp_main__", None)  # This script, as multiprocessing names it; the worker has another.
    # It asks the kernel to end with its parent, and ends by itself if it has another one by then.
    sys.argv = [WORKER, str(orders), str(replies), str(parent), *order["argv"]]
    runpy.run_module(WORKER, run_name="__main__", alter_sys=True)
    os._exit(0)


def _follow(mine: str, wanted: str) -> None:
    """Look for modules where an interpreter that is started with another ``PYTHONPATH`` would."""
    before, after = ([os.path.abspath(entry) for entry in path.split(os.pathsep) if entry] for path in (mine, wanted))  # noqa: PTH100 - as the interpreter does.
    sys.path[:] = [*after, *(entry for entry in sys.path if entry not in before)]


def _resident_files() -> list[tuple[int, int]]:
    """Where pages of files, such as libraries, are in this process's memory: addresses and lengths."""
    import numpy as np

    page = os.sysconf("SC_PAGE_SIZE")
    found: list[tuple[int, int]] = []
    with contextlib.suppress(OSError), Path("/proc/self/pagemap").open("rb", buffering=0) as flags:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, mode, _, _, inode, *_ = line.split(maxsplit=5)
            start, end = (int(address, 16) for address in span.split("-"))
            if inode == "0" or mode[0] != "r":
                continue
            flags.seek(start // page * 8)
            present = np.frombuffer(flags.read((end - start) // page * 8), np.uint64) >> np.uint64(63)
            edges = np.flatnonzero(np.diff(present.astype(np.int8), prepend=0, append=0))
            found += [(start + int(a) * page, int(b - a) * page) for a, b in edges.reshape(-1, 2)]
    return found


def _touch(resident: list[tuple[int, int]]) -> None:
    """Have the same pages of files in memory here, which a fork leaves out, so that nobody takes them for a model's."""
    advise = ctypes.CDLL(None).madvise
    for address, length in resident:
        advise(ctypes.c_void_p(address), ctypes.c_size_t(length), MADV_POPULATE_READ)


def _unforkable(threads: int) -> str | None:
    """Why no worker can be forked from this process; None if it can."""
    if _threads() > threads:
        return "importing TensorFlow and Keras starts threads"
    opened = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    if any(place.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri")) for place in opened):
        return "importing TensorFlow and Keras opens a GPU"
    return None


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _send(server: socket.socket, message: dict[str, Any]) -> None:
    server.send(json.dumps(message).encode())


def _send_process(server: socket.socket, pid: int) -> None:
    process = os.pidfd_open(pid)
    socket.send_fds(server, [json.dumps({"pid": pid}).encode()], [process])
    os.close(process)


if __name__ == "__main__":
    main()
