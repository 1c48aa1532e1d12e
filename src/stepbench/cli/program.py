"""The commands put together, and errors turned into sentences."""

from __future__ import annotations

import errno
import sys
from typing import Annotated, NoReturn

import typer

from stepbench import __version__
from stepbench.cli.baseline import baseline
from stepbench.cli.calibrate import calibrate
from stepbench.cli.compare import compare
from stepbench.cli.doctor import doctor
from stepbench.cli.explain import explain
from stepbench.cli.gate import gate
from stepbench.cli.history import history
from stepbench.cli.profile import profile
from stepbench.cli.report import report
from stepbench.cli.run import run
from stepbench.cli.tensorboard import tensorboard
from stepbench.cli.train import train
from stepbench.cli.tune import tune
from stepbench.cli.verify import verify
from stepbench.errors import StepbenchError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What only writing runs into."""

app = typer.Typer(
    name="stepbench",
    help="Which way of executing a TensorFlow training step is fastest on this machine?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    *(run, report, verify, profile, explain, tensorboard),
    *(tune, gate, compare, calibrate, history, train, doctor),
):
    app.command()(command)
app.add_typer(baseline)


def print_version(asked: bool) -> None:  # noqa: FBT001 - as typer calls it.
    """Print the version and exit, if that is asked for."""
    if asked:
        typer.echo(f"stepbench {__version__}")
        raise typer.Exit


@app.callback()
def about(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """What comes before any command."""


def main() -> None:
    """Run the command line; an error is one sentence, and the exit code says what kind."""
    # What an output cannot show, it shows escaped.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # Only replaced outputs lack it.
    try:
        app()
    except StepbenchError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(_told(error), StepbenchError.exit_code)


def _told(error: OSError) -> str:
    """What is wrong with a file that nobody who opened it has told about."""
    if error.filename is None:  # Only what is printed goes to no file by name.
        return f"The output cannot be written ({error.strerror}): give it a place with room."
    if error.errno in FULL:
        return f"{error.filename} cannot be written ({error.strerror}): give it a place with room."
    return f"{error.filename} cannot be opened ({error.strerror}): check that it is there, and its permissions."


def _fail(message: str, code: int) -> NoReturn:
    # Not through rich: what the user named must come out as it is, on one line.
    print(f"stepbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - this is where errors are printed.
    sys.exit(code)
