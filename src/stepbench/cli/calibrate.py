"""The command ``calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepbench.cli.selection import selecting
from stepbench.cli.shared import Format, FormatOption, ResultsOption, print_found
from stepbench.commands import options
from stepbench.commands.request import GATE_DEFAULTS, Request
from stepbench.errors import StepbenchError
from stepbench.records.gate import GateSettings

SLOWDOWNS = "0%,1%,2%,3%,5%,10%"


@selecting(execution="graph", precision="float32", device="cpu", **GATE_DEFAULTS)
def calibrate(
    request: Request,
    slowdowns: Annotated[
        str | None, typer.Option(help=f"Planted in turn; 0% is identical code.  [default: {SLOWDOWNS}]")
    ] = None,
    threshold: Annotated[str, typer.Option(help="The gates' own.")] = f"{GateSettings().threshold:.0%}",
    gate_budget: Annotated[str, typer.Option(help="About how long one gate may take.")] = "3m",
    budget: Annotated[str, typer.Option(help="About how long all may take.")] = "1h",
    resume: Annotated[str | None, typer.Option(help="Go on with this one, as it began but for --slowdowns.")] = None,
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
) -> None:
    """Find out how often gates are right on this machine, from identical code and planted slowdowns."""
    from stepbench.commands.calibrate import CalibrationRequest
    from stepbench.commands.calibrate import calibrate as run_calibration
    from stepbench.records.store import Store
    from stepbench.report.calibrate import blocks, calibrated
    from stepbench.report.progress import shown

    if output in (Format.CSV, Format.HTML):
        raise StepbenchError("A calibration is no table of cases and no page: use --format text, json or markdown.")
    gate_s = options.duration("--gate-budget", gate_budget)
    asked = CalibrationRequest(
        request=request,
        slowdowns=_slowdowns(slowdowns or (None if resume else SLOWDOWNS)),
        settings=GateSettings(threshold=options.share("--threshold", threshold), budget_s=gate_s),
        budget_s=options.duration("--budget", budget),
        resume=resume,
    )
    store = Store(results)
    store.check_writable()
    with shown() as progress:
        found = run_calibration(asked, store, progress.progress)
    measured = calibrated(found)
    print_found(output, measured, [blocks(measured)])


def _slowdowns(text: str | None) -> tuple[float, ...]:
    """None stands for those that a calibration had when it began."""
    return tuple(options.share("--slowdowns", part) for part in options.names("--slowdowns", text)) if text else ()
