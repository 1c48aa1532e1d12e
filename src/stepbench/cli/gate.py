"""The command ``gate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepbench.cli.selection import selecting
from stepbench.cli.shared import (
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    Format,
    FormatOption,
    PageOption,
    ResultsOption,
    check_page_option,
    print_found,
    put_page,
    remark,
    say_where,
)
from stepbench.commands import options
from stepbench.commands.request import GATE_DEFAULTS, Request
from stepbench.errors import StepbenchError
from stepbench.records.gate import GateSettings

if TYPE_CHECKING:
    from stepbench.judge.gate import GateJudgement
    from stepbench.records.gate import Gate
    from stepbench.records.store import Store


@selecting(**GATE_DEFAULTS)
def gate(
    request: Request,
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
    from stepbench.commands.gate import GateRequest, run_gate
    from stepbench.judge.gate import GateVerdict, judge_gate
    from stepbench.records.store import Store
    from stepbench.report.progress import shown

    if output is Format.CSV:
        raise StepbenchError("A verdict is no table: use --format text, json, markdown or html.")
    check_page_option(output, page)
    asked = GateRequest(
        request=replace(request, only=options.names("--cases", cases) if cases else ()),
        base=base,
        head=head,
        repository=repo.resolve(),
        settings=GateSettings(threshold=options.share("--threshold", threshold)),
        budget_s=None if budget is None else options.duration("--budget", budget),
    )
    store = Store(results)
    store.check_writable()
    with shown() as progress:
        found = run_gate(asked, store, progress.progress, remark)
    judgement = judge_gate(found)
    _print_verdict(found, judgement, store, output, page)
    say_where(store.folder(found.gate_id))
    codes = {GateVerdict.PASS: EXIT_FINE, GateVerdict.IMPROVED: EXIT_FINE, GateVerdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}
    raise typer.Exit(codes.get(judgement.verdict, EXIT_FINDING))


def _print_verdict(found: Gate, judgement: GateJudgement, store: Store, output: Format, page: Path | None) -> None:
    from stepbench.commands.gate import draw_page, notes
    from stepbench.report.gate import chapters, report

    if output is not Format.HTML:
        print_found(output, report(found, judgement), chapters(found, judgement, notes(found, store)))
    elif page is not None:
        put_page(draw_page(found, store), page)
