from __future__ import annotations

import io

import places
import pytest
from builders import ODD_NAMES, make_case, make_measurement, make_run
from pages import rendered
from rich.cells import cell_len
from rich.console import Console

from stepbench.records.cases import EAGER
from stepbench.records.store import Run, Store
from stepbench.report.markdown import markdown
from stepbench.report.summary import summarize
from stepbench.report.text import print_summary

RESULTS = places.RESULTS
WIDTHS = (60, 80, 120, 200)


def named(name: str) -> Run:
    """A run of a workload and of an execution of that name, which is the fastest of three."""
    seconds = {EAGER: 0.2, name: 0.1, "other": 0.15}
    cases = (make_case(execution, workload=name) for execution in seconds)
    times = zip(cases, seconds.values(), strict=True)
    return make_run(*(make_measurement(case, [time] * 2, [1.01 * time] * 2) for case, time in times))


def terminal(run: Run, width: int) -> str:
    file = io.StringIO()
    print_summary(summarize(run), Console(file=file, width=width, highlight=False))
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_terminal_ends_with_what_to_use_and_why(width: int) -> None:
    _, ending = terminal(named("fast"), width).split("fast on cpu: what to use")
    (what,) = summarize(named("fast")).recommendations
    assert ending.split() == [*what.headline.split(), *(word for text in what.why for word in ("-", *text.split()))]
    assert what.headline.startswith("fast/float32: 2.00× ")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 500])
def test_no_line_is_wider_than_the_terminal_whatever_the_names(name: str, width: int) -> None:
    lines = terminal(named(name), width).splitlines()
    assert max(cell_len(line) for line in lines) <= width


def test_markdown_ends_with_what_to_use_and_why() -> None:
    (what,) = summarize(named("fast")).recommendations
    text = rendered(markdown(summarize(named("fast")))).text
    assert text.index("what to use") > text.index("speed-up")
    assert text.index(what.headline) < text.index(what.why[0])


@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 500, "- a", "+ a", "1. a", "12) a", "> a"])
def test_markdown_shows_odd_names_as_they_are(name: str) -> None:
    page = rendered(markdown(summarize(named(name))))
    assert f"{name} on cpu: what to use" in page.text
    assert f"{name}/float32: 2.00× [2.00, 2.00] as fast as eager/float32" in page.text
    assert f"{name}/float32 is 1.50× [1.50, 1.50] as fast as the next, other/float32" in page.text
    assert page.tags == {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


def test_the_run_of_the_readme_recommends_by_its_evidence() -> None:
    (what,) = summarize(Store(RESULTS).read("20261122-150828-4f90")).recommendations
    assert what.best == ("cifar-cnn/graph/mixed_bfloat16/cpu/b64",)
    assert what.headline == "graph/mixed_bfloat16: 6.83× [6.18, 7.54] as fast as eager/float32, equivalent"
    for evidence in (
        "mainly for host in update",
        "the next, graph/float32",
        "xla/float32 runs MaxPoolGrad without",
        "float16 is emulated",
    ):
        assert any(evidence in sentence for sentence in what.why)
