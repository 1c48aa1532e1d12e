from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgspec
import pytest
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_run
from documents import Document, faults
from reports import LOCK, full_run, full_summary, make_curves, make_full

from stepbench.records.cases import EAGER, GRAPH, XLA, Verification
from stepbench.records.machine import Environment, Gpu, Host, Repository
from stepbench.records.run import FailureKind
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.html.figures.canvas import WIDE
from stepbench.report.html.figures.groups import MOST_GROUPS
from stepbench.report.html.report import figures, page
from stepbench.report.recommend import Recommendation
from stepbench.report.summary import summarize

SECTIONS = ["cases", "speed-ups", "step-times", "convergence", "work", "efficiency", "scaling", "memory"]
ATTACKS = (
    "</style><img src=x onerror=hacked=1>",
    "</script><script>hacked=1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "' onmouseover='hacked=1",
    '" autofocus onfocus="hacked=1',
    "javascript:hacked=1",
    "$\\frac{1}{0}$",
    "a\x00b\x1b[31m\u202ec\u2066",
    "]]>&#60;",
)
MOST_BYTES = 2 * 2**20


def shown(run: Run) -> Document:
    """The page of a run, which has no fault."""
    html = page(run, summarize(run))
    assert faults(html) == []
    return Document(html)


def two(**changes: Any) -> Run:
    return make_run(make_full(make_case(EAGER), 0.01), make_full(make_case(GRAPH), 0.004, trained=True), **changes)


@pytest.mark.usefixtures("undrawn")
def test_a_full_run_has_all_sections_in_order() -> None:
    run = full_run()
    html = page(run, full_summary(run))
    assert faults(html) == []
    assert Document(html).headings == [*SECTIONS, "environment", "reproduce"]
    assert "attained on cpu: matrix products" in Document(html).text


def test_a_page_with_its_drawings_is_small_and_without_fault() -> None:
    run = full_run(sizes=(64,))
    html = page(run, full_summary(run))
    assert faults(html) == []
    assert len(html.encode()) < MOST_BYTES


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_comes_first_with_its_figures() -> None:
    document = shown(two())
    words = "graph/float32: 2.50× [2.50, 2.50] as fast as eager/float32, equivalent"
    assert document.text.index(words) < document.text.index("All cases, fastest first")
    assert "speed-up 2.50× 2.50 – 2.50" in document.text


@pytest.mark.usefixtures("undrawn")
def test_it_is_told_where_the_time_goes_and_why_the_best_is_faster() -> None:
    document = shown(two())
    head = next(index for index, row in enumerate(document.rows) if "forward" in row)
    told = dict(zip(document.rows[head], document.rows[head + 1], strict=True))
    assert (told["case"], told["forward"], told["backward"]) == ("graph/float32", "2.40", "0.400")
    assert "graph/float32 is 6.00 ms a step faster than eager/float32" in document.text
    assert next(row for row in document.rows if row[0] == "in all")[2:5] == ["+6.00", "4.00", "10.0"]


@pytest.mark.usefixtures("undrawn")
def test_a_recommendation_is_the_verdict() -> None:
    run = two()
    best = make_case(EAGER).id
    said = Recommendation(workload="cnn", device="cpu", best=(best,), headline="use eager", why=("it is easy",))
    document = Document(page(run, msgspec.structs.replace(summarize(run), recommendations=(said,))))
    assert "use eager" in document.text
    assert "it is easy" in document.text
    assert "as fast as eager/float32, equivalent" not in document.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("run", "words"),
    [
        (make_run(make_failed(make_case())), "No recommendation: every case failed"),
        (make_run(make_measurement(make_case(), [0.1])), "graph/float32 alone was timed, 10.0 ms a step"),
        (
            make_run(make_measurement(make_case(), [0.1]), make_measurement(make_case(XLA), [0.2])),
            "no recommendation: ",
        ),
        (make_run(make_measurement(make_case())), "No recommendation: nothing was timed"),
    ],
    ids=["failed", "one case", "one replicate", "nothing"],
)
def test_without_a_choice_it_is_said_why_there_is_no_recommendation(run: Run, words: str) -> None:
    assert words in shown(run).text


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_only_verified_says_how_many_converge_alike() -> None:
    eager, graph = (make_full(make_case(execution), 0.01, trained=True) for execution in (EAGER, GRAPH))
    untimed = [msgspec.structs.replace(found, replicates=()) for found in (eager, graph)]
    run = make_run(*untimed)
    run = msgspec.structs.replace(
        run, plan=msgspec.structs.replace(run.plan, replicates=0, verification=Verification())
    )
    assert "Nothing was timed: 2 of 2 cases are shown to converge alike" in shown(run).text


@pytest.mark.usefixtures("undrawn")
def test_failures_are_counted_at_the_top_and_explained_below() -> None:
    broken = make_failed(make_case(XLA), FailureKind.OUT_OF_MEMORY, "It needs 3 TiB.")
    document = shown(two(measurements=(*two().measurements, broken)))
    assert "1 of 3 cases failed or were not measured: see the warnings and failures." in document.text
    assert "Failure out_of_memory: It needs 3 TiB. xla/float32" in document.text
    assert "failed: out_of_memory" in document.rows[3]


@pytest.mark.usefixtures("undrawn")
def test_what_converges_differently_does_not_count() -> None:
    anchor = make_full(make_case(XLA), 0.005, trained=True)
    wrong = msgspec.structs.replace(make_full(make_case("mine"), 0.004), curves=make_curves(end=1.9))
    document = shown(make_run(make_full(make_case(EAGER), 0.01), anchor, wrong))
    row = next(row for row in document.rows if row[0] == "mine/float32")
    assert "does not count, as it converges differently" in " ".join(row)
    assert "xla/float32: 2.00× [2.00, 2.00] as fast as eager/float32, equivalent" in document.text
    assert "1 of 3 cases converge differently" in document.text


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_says_how_to_continue_it() -> None:
    begun = make_measurement(make_case(EAGER), [0.1], closing=None)
    run = make_run(begun, make_measurement(make_case()), finished=None)
    document = shown(run)
    assert f"continue it with 'stepbench run --resume {run.run_id}'" in document.text
    assert "ended unfinished" in document.text
    assert "step-times" in document.headings


@pytest.mark.usefixtures("undrawn")
def test_sections_without_content_are_left_out() -> None:
    timed = shown(make_run(make_measurement(make_case(EAGER), [0.1]), make_measurement(make_case(), [0.1])))
    assert timed.headings == ["cases", "speed-ups", "step-times", "memory", "environment", "warnings", "reproduce"]


@pytest.mark.usefixtures("undrawn")
def test_a_diverged_training_is_drawn_up_to_there() -> None:
    curves = make_curves()
    diverged = msgspec.structs.replace(curves[0], losses=(2.3, 2.0, None))
    at_once = msgspec.structs.replace(curves[1], losses=(None,))
    anchor = make_full(make_case(GRAPH), 0.004, trained=True)
    wrong = msgspec.structs.replace(make_full(make_case("mine"), 0.004), curves=(diverged, at_once))
    run = make_run(make_full(make_case(EAGER), 0.01), anchor, wrong)
    (losses,) = (plot for plot in figures(run, summarize(run)) if plot.name.startswith("losses"))
    assert "not finite, not finite" in [row[-1] for row in losses.rows]
    assert losses.draw(WIDE).axes
    hopeless = msgspec.structs.replace(wrong, curves=(at_once,))
    assert "convergence" in shown(make_run(hopeless)).headings


@pytest.mark.usefixtures("undrawn")
def test_environment_and_reproduction_are_told() -> None:
    environment = msgspec.structs.replace(
        ENVIRONMENT,
        repository=Repository(commit="c" * 40, branch="main", dirty=True, lock=LOCK),
        variables={"XLA_FLAGS": "--fast"},
        gpus=(Gpu(name="A GPU", compute_capability=(9, 0), temperature_c=0),),
    )
    document = shown(two(environment=environment, command=("stepbench", "run", "--data", "my data")))
    for words in (
        f"git checkout {'c' * 40} stepbench run --data 'my data'",
        f"commit {'c' * 40} on main, with uncommitted changes",
        f"lock file, SHA-256 {LOCK.replace('  ', ' ')}",
        "XLA_FLAGS --fast",
        "compute capability 9.0",
        "temperature before 0 °C",
        "began 2026-01-02 03:04:05 UTC",
        f"fingerprint {environment.fingerprint}",
    ):
        assert words in document.text


@pytest.mark.usefixtures("undrawn")
def test_a_machine_of_which_nothing_is_known_is_shown() -> None:
    document = shown(two(environment=Environment()))
    assert "commit none: it was measured outside a git checkout" in document.text
    assert "lock file, SHA-256 not known" in document.text


@pytest.mark.usefixtures("undrawn")
def test_the_policy_allows_the_pages_own_style_and_script_alone() -> None:
    html = page(two(), summarize(two()))
    (policy,) = (meta["content"] or "" for meta in Document(html).all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


@pytest.mark.usefixtures("undrawn")
def test_odd_names_are_shown_as_they_are() -> None:
    names = [*ODD_NAMES, "x" * 500, " ".join(["a", "long", "name"] * 40)]
    executions = shown(make_run(*(make_measurement(make_case(name), [0.1]) for name in names)))
    workloads = shown(make_run(*(make_measurement(make_case(EAGER, workload=name), [0.1]) for name in names)))
    assert {f"{name}/float32" for name in names} <= {row[0] for row in executions.rows}
    assert {name for row in workloads.rows for name in row[1:2]} >= set(names)
    assert all(f"{name} on cpu" in workloads.text for name in names)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_from_a_file_becomes_markup(attack: str) -> None:
    environment = msgspec.structs.replace(
        ENVIRONMENT,
        host=Host(hostname=attack, distribution=attack),
        variables={attack: attack},
        repository=Repository(commit=attack, branch=attack, lock=attack),
    )
    said = {"environment": environment, "command": ("stepbench", attack), "data": attack, "run_id": attack}
    document = shown(make_run(make_failed(make_case(XLA), message=attack), **said))
    attributes = [f"{name}={value}" for _, found in document.elements for name, value in found.items()]
    assert "hacked" not in " ".join(attributes)
    assert [len(document.all(tag)) for tag in ("script", "style", "img")] == [1, 1, 0]
    assert formats.plain(attack) in document.text
    assert not {"\x00", "\x1b", "\u202e", "\u2066"} & set(document.text)


@pytest.mark.usefixtures("undrawn")
def test_of_many_workloads_the_first_have_figures_and_all_are_in_the_table() -> None:
    runs = [make_measurement(make_case(EAGER, workload=f"workload-{number}"), [0.1]) for number in range(5)]
    document = shown(make_run(*runs))
    assert f"Figures are drawn for {MOST_GROUPS} of 5 workloads and devices" in document.text
    drawn = " ".join(found["id"] or "" for found in document.all("svg"))
    assert [f"workload-{number}" in drawn for number in range(5)] == [True, True, True, False, False]
    assert sum(row[:2] == ["eager/float32", f"workload-{number}"] for number in range(5) for row in document.rows) == 5


@pytest.mark.usefixtures("undrawn")
def test_a_figure_holds_so_many_cases_and_says_so() -> None:
    cases = [make_measurement(make_case(f"variant-{number}"), [0.1 + number / 1e3]) for number in range(40)]
    document = shown(make_run(*cases, make_measurement(make_case(EAGER), [1.0])))
    assert "The fastest 21 of 41 are shown." in document.text  # The reference is the slowest.
    drawings = [found["aria-label"] or "" for found in document.all("svg")]
    assert "eager/float32" in drawings[0]
    assert "variant-39" not in drawings[0]
