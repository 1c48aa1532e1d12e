"""TensorBoard, served on loopback in this process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from stepbench.errors import StepbenchError

PLUGIN = "tensorboard_plugin_profile"
LOOPBACK = "127.0.0.1"
LAST_PORT = 65535
STOPPING = (signal.SIGINT, signal.SIGTERM)


def serve(logdir: Path, port: int | None, log: Path, say: Callable[[str], None]) -> NoReturn:
    """Serve ``logdir`` until interrupted, and end the process.

    Args:
        logdir: what to show.
        port: a certain one; a free one if None.
        log: takes what TensorBoard and its plugin say on the error output, a line for each request and more.
        say: told the address once it can be opened.

    Raises:
        StepbenchError: when the profile plugin is missing or the port is taken.
    """
    if importlib.util.find_spec(PLUGIN) is None:
        raise StepbenchError(
            "TensorBoard's profile plugin is not installed, so traces cannot be shown: "
            "install it with 'pip install tensorboard-plugin-profile'."
        )
    if port is not None and not 0 <= port <= LAST_PORT:
        raise StepbenchError(f"There is no port {port}: choose a --port up to {LAST_PORT}, or none.")
    stopped = _readable_once_signalled()
    with _error_output_to(log):
        address = _launch(logdir, port)
        say(f"TensorBoard shows run {logdir.parent.name} at {address} (stop it with Ctrl-C)")
        os.read(stopped, 1)
        # A thread may be converting a trace in C++: the interpreter's end could wait for it for good, and whatever it
        # says after the redirection would be on the terminal.
        os._exit(0)


def _readable_once_signalled() -> int:
    """A file to wait for, as any thread may get the signal, which does not wake this one up, where handlers run."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in STOPPING:
        signal.signal(number, lambda *_: None)
    return reading


@contextlib.contextmanager
def _error_output_to(log: Path) -> Iterator[None]:
    """Redirect the process's error output: the plugin's library writes there by itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(sys.stderr.fileno())
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        yield
    finally:
        os.dup2(kept, sys.stderr.fileno())
        os.close(kept)


def _launch(logdir: Path, port: int | None) -> str:
    from tensorboard import program

    board = program.TensorBoard()
    options = ["--logdir", str(logdir), "--host", LOOPBACK, "--load_fast", "false", "--reload_interval", "30"]
    board.configure(("tensorboard", *options, *(["--port", str(port)] if port is not None else [])))
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise StepbenchError(f"TensorBoard cannot be served ({error}): choose another --port, or none.") from error
