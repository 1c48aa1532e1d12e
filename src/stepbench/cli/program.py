"""The commands put together, and errors turned into sentences."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

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
from stepbench.cli.verify import verify
from stepbench.errors import StepbenchError

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
    *(gate, compare, calibrate, history, train, doctor),
):
    app.command()(command)
app.add_typer(baseline)


def main() -> None:
    """Run the command line; an error is one sentence, and the exit code says what kind."""
    # What an output cannot show, it shows escaped.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # Only replaced outputs lack it.
    try:
        app()
    except StepbenchError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"The output cannot be written ({error.strerror}): give it a place with room.", StepbenchError.exit_code)


def _fail(message: str, code: int) -> NoReturn:
    # Not through rich: what the user named must come out as it is, on one line.
    print(f"stepbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - this is where errors are printed.
    sys.exit(code)
