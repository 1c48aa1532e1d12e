"""Commands that compare revisions: gate and calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench import options
from stepbench.cli.selection import SelectionOptions, selecting
from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    Format,
    FormatOption,
    PageOption,
    ResultsOption,
    check_page_option,
    print_json,
    put_page,
    say_where,
)
from stepbench.errors import StepbenchError
from stepbench.pairs import GateSettings

if TYPE_CHECKING:
    from stepbench.analysis.regression import GateJudgement
    from stepbench.pairs import Gate
    from stepbench.store import Store

SLOWDOWNS = "0%,1%,2%,3%,5%,10%"


@selecting(data="synthetic")
def gate(
    selection: SelectionOptions,
    base: Annotated[str, typer.Option(help="The revision to compare with: a commit, a branch, a tag.")],
    head: Annotated[str | None, typer.Option(help="The revision to judge; the working tree if not given.")] = None,
    cases: Annotated[str | None, typer.Option(help="Only these of the cases: a comma list of ids or parts.")] = None,
    threshold: Annotated[str, typer.Option(help="The slowdown that matters.")] = f"{GateSettings().threshold:.0%}",
    budget: Annotated[
        str | None, typer.Option(help="About how long to measure at most; 3m a case and 12m in all if not given.")
    ] = None,
    repo: Annotated[Path, typer.Option(help="A folder in the repository to compare revisions of.")] = Path(),
    results: ResultsOption = Path("results"),
    output: FormatOption = Format.TEXT,
    page: PageOption = None,
) -> None:
    """Judge whether head is slower than base, from both measured now, in turn, on this machine."""
    from stepbench.analysis.regression import GateVerdict, judge_gate
    from stepbench.gating import GateRequest, run_gate
    from stepbench.reporting.progress import shown
    from stepbench.store import Store

    if output is Format.CSV:
        raise StepbenchError("A verdict is no table: use --format text, json, markdown or html.")
    check_page_option(output, page)
    asked = GateRequest(
        base=base,
        head=head,
        repository=repo.resolve(),
        request=options.measuring_request(**selection),
        only=options.names("--cases", cases) if cases else (),
        settings=GateSettings(threshold=options.share("--threshold", threshold)),
        budget_s=None if budget is None else options.duration("--budget", budget),
    )
    store = Store(results)
    store.check_writable()
    with shown() as progress:
        found = run_gate(asked, store, progress.progress)
    judgement = judge_gate(found)
    _print_verdict(found, judgement, store, output, page)
    say_where(store.folder(found.gate_id))
    codes = {GateVerdict.PASS: EXIT_FINE, GateVerdict.IMPROVED: EXIT_FINE, GateVerdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}
    raise typer.Exit(codes.get(judgement.verdict, EXIT_FINDING))


def _print_verdict(found: Gate, judgement: GateJudgement, store: Store, output: Format, page: Path | None) -> None:
    from stepbench.gating import draw_page, notes
    from stepbench.reporting import gate as reporting

    match output:
        case Format.TEXT:
            reporting.print_gate(found, judgement, notes=notes(found, store))
            reporting.print_explanations(found)
        case Format.JSON:
            print_json(reporting.report(found, judgement))
        case Format.MARKDOWN:
            typer.echo(reporting.markdown(found, judgement, notes=notes(found, store)), nl=False)
        case Format.HTML if page is not None:
            put_page(draw_page(found, store), page)


@selecting(execution="graph", precision="float32", device="cpu", data="synthetic")
def calibrate(
    selection: SelectionOptions,
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
    from stepbench.calibrating import CalibrationRequest
    from stepbench.calibrating import calibrate as run_calibration
    from stepbench.reporting import calibration as reporting
    from stepbench.reporting.progress import shown
    from stepbench.store import Store

    if output in (Format.CSV, Format.HTML):
        raise StepbenchError("A calibration is no table of cases and no page: use --format text, json or markdown.")
    gate_s = options.duration("--gate-budget", gate_budget)
    asked = CalibrationRequest(
        request=options.measuring_request(**selection),
        slowdowns=_slowdowns(slowdowns or (None if resume else SLOWDOWNS)),
        settings=GateSettings(threshold=options.share("--threshold", threshold), budget_s=gate_s),
        budget_s=options.duration("--budget", budget),
        resume=resume,
    )
    store = Store(results)
    store.check_writable()
    with shown() as progress:
        found = run_calibration(asked, store, progress.progress)
    measured = reporting.calibrated(found)
    match output:
        case Format.TEXT:
            reporting.print_calibration(measured)
        case Format.JSON:
            print_json(measured)
        case Format.MARKDOWN:
            typer.echo(reporting.markdown(measured), nl=False)


def _slowdowns(text: str | None) -> tuple[float, ...]:
    """None stands for those that a calibration had when it began."""
    return tuple(options.share("--slowdowns", part) for part in options.names("--slowdowns", text)) if text else ()
