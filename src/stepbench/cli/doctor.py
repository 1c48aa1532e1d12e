"""The command that looks at the machine: doctor."""

from __future__ import annotations

from pathlib import Path

import typer

from stepbench.cli.shared import EXIT_FINDING, EXIT_FINE, Format, FormatOption, ResultsOption, print_found
from stepbench.errors import StepbenchError


def doctor(results: ResultsOption = Path("results"), output: FormatOption = Format.TEXT) -> None:
    """Say what on this machine helps or spoils measurements, and how to mend it."""
    if output in (Format.CSV, Format.HTML):
        raise StepbenchError("What the doctor finds is no table and no page: use --format text, json or markdown.")
    from stepbench.commands.doctor import doctor as ask_doctor
    from stepbench.judge.doctor import DoctorVerdict
    from stepbench.report.doctor import blocks
    from stepbench.report.progress import shown

    with shown() as progress:
        found = ask_doctor(results, progress.progress)
    print_found(output, found, [blocks(found)])
    raise typer.Exit(EXIT_FINDING if found.verdict is DoctorVerdict.SPOILED else EXIT_FINE)
