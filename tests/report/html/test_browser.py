"""The pages in a real browser, from disk and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from browsers import launched
from builders import ENVIRONMENT, ODD_NAMES, make_case, make_failed, make_measurement, make_run
from paired import make_gate, make_gate_case, noisy_pairs
from playwright.sync_api import Browser, Dialog, Locator, Page, expect
from reports import full_run, full_summary, make_full

from stepbench.judge.compare import compare_runs
from stepbench.judge.gate import judge_gate
from stepbench.records.cases import EAGER, XLA
from stepbench.records.machine import Host
from stepbench.records.store import Run
from stepbench.report.html.compare import comparison_page
from stepbench.report.html.gate import gate_page
from stepbench.report.html.report import page as run_page
from stepbench.report.summary import summarize

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><svg onload=window.hacked=1>"
PATIENCE_MS = 30_000
MANY = 200


def hostile_run() -> Run:
    """Names and texts that would spoil a careless page, among them 500 characters without a gap."""
    names = [*ODD_NAMES, "x" * 500, "<svg onload=window.hacked=1>"]
    measured = [make_measurement(make_case(name, workload=names[-2]), [0.1]) for name in names]
    failed = make_failed(make_case(XLA, workload=names[-2]), message=HOSTILE)
    environment = msgspec.structs.replace(ENVIRONMENT, host=Host(hostname=HOSTILE), variables={HOSTILE: "y" * 3000})
    command = ("stepbench", "run", HOSTILE, "z" * 3000)
    return make_run(*measured, failed, environment=environment, data=HOSTILE, command=command)


def many_run() -> Run:
    others = (make_measurement(make_case(f"variant-{number}"), [0.1 + number / 1e3]) for number in range(1, MANY))
    return make_run(make_measurement(make_case(EAGER), [0.1]), *others)


def pages() -> dict[str, str]:
    full, hostile, many = full_run(sizes=(64, 128)), hostile_run(), many_run()
    old, new = (make_run(make_full(make_case(), seconds), run_id=name) for name, seconds in (("a", 0.01), ("b", 0.02)))
    gate = make_gate(make_gate_case(*noisy_pairs(0.1)), commits=(HOSTILE,))
    return {
        "full": run_page(full, full_summary(full)),
        "hostile": run_page(hostile, summarize(hostile)),
        "many": run_page(many, summarize(many)),
        "comparison": comparison_page(old, new, compare_runs(old, new, 0.02, allow_different_machines=False)),
        "gate": gate_page(gate, judge_gate(gate), [HOSTILE]),
    }


NAMES = ("full", "hostile", "many", "comparison", "gate")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of each page on disk."""
    folder = tmp_path_factory.mktemp("pages")
    addresses = {}
    for name, html in pages().items():
        path = folder / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        addresses[name] = path.as_uri()
    assert tuple(addresses) == NAMES
    return addresses


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        expect.set_options(timeout=PATIENCE_MS)
        yield browser


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Page:
    """One for all tests: each opens a page from disk, which knows nothing of the one before."""
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """A page that says nothing on the console, asks nothing of a network and asks the reader nothing."""
    said: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    watched: dict[Any, Any] = {
        "console": lambda message: said.append(message.text),
        "pageerror": lambda error: said.append(str(error)),
        "request": lambda request: said.extend([request.url] * (not request.url.startswith("file:"))),
        "dialog": dismiss,
    }
    for event, listener in watched.items():
        tab.on(event, listener)
    tab.set_viewport_size({"width": 1400, "height": 900})
    tab.emulate_media(color_scheme="light")
    yield tab
    assert said == []
    assert tab.evaluate("window.hacked") is None
    for event, listener in watched.items():
        tab.remove_listener(event, listener)


def case_table(page: Page) -> Locator:
    return page.locator("#cases-table")


def first_cells(page: Page) -> list[str]:
    """The names of the cases shown, from top to bottom."""
    return case_table(page).locator("tbody tr:visible > th").all_inner_texts()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_screen_and_phone_and_executes_nothing(page: Page, files: dict[str, str], name: str) -> None:
    page.goto(files[name])
    expect(page.locator("h1")).to_be_visible()
    for width in (1400, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        widths = page.locator("figure svg:visible").evaluate_all(
            "them => them.map(it => it.getBoundingClientRect().width)"
        )
        assert len(widths) == page.locator("figure").count()
        assert max(widths, default=0) <= width


def test_the_figures_of_a_phone_are_drawn_for_it(page: Page, files: dict[str, str]) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(files["comparison"])
    text = page.locator("figure svg:visible text").first
    size = text.evaluate("text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a")
    assert size >= 10


def test_the_colours_follow_the_readers_choice(page: Page, files: dict[str, str]) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(files["full"])
        label = page.locator("figure svg:visible text").first
        script = "element => [getComputedStyle(document.body).backgroundColor, getComputedStyle(element).fill]"
        colours.append(label.evaluate(script))
    assert colours[0][0] == "rgb(255, 255, 255)"
    assert colours[0] != colours[1]
    assert all(ground != text for ground, text in colours)


def test_a_column_is_sorted_with_the_keyboard_and_says_so(page: Page, files: dict[str, str]) -> None:
    page.goto(files["many"])
    before = first_cells(page)
    assert before[0] == "eager/float32"
    head = page.get_by_role("columnheader", name="ms a step").first
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert first_cells(page) == before
    page.keyboard.press("Space")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert first_cells(page) == before[::-1]
    page.get_by_role("columnheader", name="case").first.get_by_role("button").press("Enter")
    expect(head).not_to_have_attribute("aria-sort", "descending")
    assert first_cells(page)[:3] == ["eager/float32", "variant-1/float32", "variant-2/float32"]


def test_cases_without_a_figure_come_last_in_either_direction(page: Page, files: dict[str, str]) -> None:
    page.goto(files["hostile"])
    button = page.get_by_role("columnheader", name="ms a step").first.get_by_role("button")
    for _ in range(2):
        button.press("Enter")
        assert first_cells(page)[-1] == "xla/float32"


def test_cases_are_filtered_with_the_keyboard_and_counted(page: Page, files: dict[str, str]) -> None:
    page.goto(files["many"])
    status = page.get_by_role("status")
    expect(status).to_have_text(f"{MANY} of {MANY} cases shown")
    filter_ = page.get_by_label("Filter")
    filter_.press_sequentially("VARIANT-19 float32")
    expect(status).to_have_text("11 of 200 cases shown")
    assert first_cells(page) == ["variant-19/float32", *(f"variant-{number}/float32" for number in range(190, 200))]
    filter_.fill("nothing is named like this")
    expect(status).to_have_text("0 of 200 cases shown")
    filter_.fill("")
    expect(status).to_have_text("200 of 200 cases shown")


def test_the_keyboard_reaches_everything_and_the_first_stop_skips_to_the_verdict(
    page: Page, files: dict[str, str]
) -> None:
    page.goto(files["comparison"])
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the verdict")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdict"
    details = page.locator("details").first
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(details.get_by_role("table")).to_be_visible()
    unreachable = page.evaluate("[...document.querySelectorAll('.table-box')].filter(box => box.tabIndex !== 0).length")
    assert unreachable == 0


def test_a_screen_reader_is_told_what_figures_show_and_what_regions_are(page: Page, files: dict[str, str]) -> None:
    page.goto(files["full"])
    figures = page.get_by_role("img").all()
    assert len(figures) == page.locator("figure").count()
    names = [figure.get_attribute("aria-label") or "" for figure in figures]
    assert any("graph/float32" in name and "2.50×" in name for name in names)
    for role in ("navigation", "main", "heading"):
        assert page.get_by_role(role).count() >= 1
    expect(page.get_by_role("region", name="All cases, fastest first")).to_be_visible()
    assert page.get_by_role("heading", level=1).count() == 1


def test_without_scripts_everything_is_there_but_the_filter(browser: Browser, files: dict[str, str]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["many"])
    expect(case_table(page).locator("tbody tr")).to_have_count(MANY)
    expect(page.get_by_label("Filter")).to_be_hidden()
    assert page.get_by_role("columnheader").get_by_role("button").count() == 0
    context.close()
