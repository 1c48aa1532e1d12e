"""Pages and figures as commands leave them; nothing here needs a worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from builders import make_case, make_failed, make_measurement, make_run
from documents import Document, faults
from invoking import Invoke
from paired import make_gate, make_gate_case, noisy_pairs

from stepbench.commands import gate as gating
from stepbench.commands.run import measure_run
from stepbench.records.cases import Device
from stepbench.records.run import Attainable, Work
from stepbench.records.store import Run, Store
from stepbench.report.html import report as pages
from stepbench.report.html.files import REPORT_FILE, write_page

MEASURED = (
    make_measurement(make_case("eager"), [0.2, 0.2, 0.2], [0.2, 0.2, 0.2]),
    make_measurement(make_case("graph"), [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]),
)
RUN = make_run(
    *(msgspec.structs.replace(found, work=Work(1e9, 1e6, 1000)) for found in MEASURED),
    run_id="one",
    attainable=(Attainable(Device.CPU, {"float32": 1e11}, 1e10),),
)
GATE = make_gate(make_gate_case(*noisy_pairs(0.1)))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, in the working folder."""
    store = Store(tmp_path / "results")
    for run in (RUN, msgspec.structs.replace(RUN, run_id="two")):
        store.write(run)
    (tmp_path / "results" / "latest").symlink_to("one")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


@pytest.fixture
def invoke(results: Path, in_process: Invoke) -> Invoke:
    """Call the command line where there are runs."""
    assert results.is_dir()
    return in_process


pytestmark = pytest.mark.usefixtures("undrawn")


def text_of(path: Path) -> str:
    """What a page without fault says."""
    html = path.read_text(encoding="utf-8")
    assert faults(html) == []
    return Document(html).text


def test_a_page_is_written_into_its_run_and_it_is_said_where(invoke: Invoke, results: Path) -> None:
    path = (results / "one" / REPORT_FILE).resolve()
    assert invoke("report", "--format", "html") == (0, f"The page is {path}.\n", "")
    assert "stepbench run one" in text_of(path)
    assert [found.name for found in path.parent.iterdir() if found.name.startswith(".")] == []


def test_a_page_can_go_elsewhere_or_to_the_standard_output(
    invoke: Invoke, tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "page", lambda *_: "<p>drawn</p>")
    assert invoke("report", "--format", "html", "--output", "page.html") == (0, "The page is page.html.\n", "")
    code, out, err = invoke("report", "--format", "html", "--output", "-")
    assert (code, out, err) == (0, (tmp_path / "page.html").read_text(), "")
    assert not (results / "one" / REPORT_FILE).exists()


def test_a_page_of_certain_cases_leaves_the_runs_own_alone(invoke: Invoke, results: Path) -> None:
    assert invoke("report", "--format", "html", "--case", "graph")[0] == 0
    assert "eager/float32 alone" not in text_of(results / "one" / "report-graph.html")
    assert not (results / "one" / REPORT_FILE).exists()


def test_figures_are_written_beside_any_format(invoke: Invoke, tmp_path: Path) -> None:
    code, out, _ = invoke("report", "--format", "markdown", "--figures", "figures")
    assert (code, out.startswith("run one")) == (0, True)
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".svg", ".png"}


WRONG = [
    (["report", "--output", "page.html"], "--output goes with --format html"),
    (["report", "--format", "html", "--output", "no/where.html"], "choose another place with --output"),
    (["report", "--format", "html", "--case", "nope"], "has no case 'nope'"),
    (["report", "--figures", "results/one/run.json"], "choose another --figures"),
    (["compare", "one", "two", "--output", "page.html"], "--output goes with --format html"),
    (["gate", "--base", "HEAD", "--output", "page.html"], "--output goes with --format html"),
    (["explain", "eager", "graph", "--format", "html"], "has no traces"),
    (["calibrate", "--format", "html"], "A calibration is no table of cases and no page"),
    (["doctor", "--format", "csv"], "What the doctor finds is no table and no page: use --format text, json or"),
    (["doctor", "--format", "html"], "What the doctor finds is no table and no page: use --format text, json or"),
]


def test_wrong_use_exits_2_with_one_line(invoke: Invoke) -> None:
    for arguments, words in WRONG:
        code, _, err = invoke(*arguments)
        (line,) = err.splitlines()
        assert (code, line.startswith("stepbench: ")) == (2, True), arguments
        assert words in line


def test_a_comparison_is_a_page_beside_the_newer_run(invoke: Invoke, results: Path) -> None:
    code, out, _ = invoke("compare", "one", "two", "--format", "html")
    path = (results / "two" / "compared-with-one.html").resolve()
    assert (code, out) == (0, f"The page is {path}.\n")
    assert "run two against run one" in text_of(path)


def test_a_gate_always_leaves_its_page(invoke: Invoke, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gating, "run_gate", lambda *_: GATE)
    Store(results).write_gate(GATE)
    path = results / GATE.gate_id / REPORT_FILE
    write_page(gating.draw_page(GATE, Store(results)), path)  # As run_gate does at its end.
    code, out, err = invoke("gate", "--base", "HEAD", "--format", "markdown")
    assert (code, out.startswith("**REGRESSION")) == (1, True)
    assert err == f"With figures: {path.relative_to(results.parent)}\n"
    assert "Head is worse in graph/float32" in text_of(path)
    code, out, _ = invoke("gate", "--base", "HEAD", "--format", "html", "--output", "-")
    assert (code, out) == (1, path.read_text())


def test_a_run_that_is_continued_to_its_end_leaves_its_page_and_says_so_last(invoke: Invoke, results: Path) -> None:
    measure_run(RUN, Store(results))
    code, out, err = invoke("run", "--resume", "one")
    assert (code, out.startswith("run one")) == (0, True)
    assert err == f"With figures: {results / 'one' / REPORT_FILE}\n"
    assert "stepbench run one" in text_of(results / "one" / REPORT_FILE)
    assert invoke("run", "--resume", "one", "--format", "json")[1].startswith("{")


def test_a_page_that_cannot_be_drawn_does_not_cost_the_run(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no\ncolours left")

    monkeypatch.setattr(pages, "page", fail)
    unfinished = msgspec.structs.replace(RUN, finished=None)
    measured: Run = measure_run(unfinished, Store(results))
    assert measured.finished
    assert Store(results).read("one") == measured
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"stepbench: {results / 'one' / REPORT_FILE} was not written (RuntimeError: no colours left)"
    )


def test_a_failed_run_can_be_shown(invoke: Invoke, results: Path) -> None:
    Store(results).write(make_run(make_failed(make_case()), run_id="failed"))
    assert invoke("report", "failed", "--format", "html")[0] == 0
    assert "every case failed" in text_of(results / "failed" / REPORT_FILE)


def test_a_module_that_is_run_is_told_as_what_can_be_typed_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    code = "from stepbench.commands.invocation import command_line; print(*command_line())"
    for name in ("mine/__main__.py", "script.py"):
        (tmp_path / name).write_text(code)
    for arguments, told in ((["-m", "mine"], "python -m mine -x"), (["script.py"], "script.py -x")):
        command = [sys.executable, *arguments, "-x"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == f"{told}\n"
