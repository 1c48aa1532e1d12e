"""``stepbench tensorboard``: the real TensorBoard with its profile plugin, and its pages in a real browser."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import places
import psutil
import pytest
from boards import STEPBENCH, Server, refused, serving, stored
from browsers import launched
from builders import make_case, make_failed, make_measurement, make_run
from documents import faults
from playwright.sync_api import BrowserContext, Locator, Page, expect
from xprof.protobuf.op_stats_pb2 import OpStats

from stepbench.records import verify as verification
from stepbench.records.store import TENSORBOARD_FOLDER, Store, session_of, slug
from stepbench.report.html.files import REPORT_FILE
from stepbench.report.summary import summarize
from stepbench.report.tensorboard import STATISTICS_FILE, write_logdir

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SLOWED = places.SLOWED
CASES = ("slowed/eager/float32/cpu/b32", "slowed/extra-matmul/float32/cpu/b32")
SESSIONS = tuple(map(slug, CASES))
EAGER, COMPILED = SESSIONS
TOOLS = ("overview_page", "trace_viewer@", "framework_op_stats")
SOON_S = 10
"""To stop, also on a busy machine."""
PATIENCE_MS = 60_000

WITHOUT_PLUGIN = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "tensorboard_plugin_profile" else found(name, *more)
from stepbench.cli import main
main()
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with traces, curves, verdicts and times."""
    results = tmp_path_factory.mktemp("results")
    command = [
        *(STEPBENCH, "run", "--workload", f"{SLOWED}:workload", "--plugin", str(SLOWED), "--data", "synthetic"),
        *("--execution", "eager,extra-matmul", "--precision", "float32", "--device", "cpu", "--batch-size", "32"),
        *("--replicates", "1", "--rounds", "1", "--no-input-pipeline", "--seeds", "4", "--steps", "10"),
        *("--results", str(results)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"With figures: {results}")
    return results


@pytest.fixture(scope="module")
def server(results: Path) -> Iterator[Server]:
    with serving(results) as server:
        yield server


@pytest.fixture(scope="module")
def context(server: Server) -> Iterator[BrowserContext]:
    with launched() as browser:
        context = browser.new_context(viewport={"width": 1500, "height": 1000})
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        # The plugin loads Google's charts from the network, which is not there everywhere: nobody gets them, so the
        # charts and tables that are drawn with them stay empty, and their data are looked at where the page gets them.
        context.route(lambda url: not url.startswith(server.address), lambda route: route.abort())
        yield context


@pytest.fixture
def page(context: BrowserContext, tmp_path: Path) -> Iterator[Page]:
    """A fresh page; what it shows at the end is in the test's folder."""
    page = context.new_page()
    yield page
    page.screenshot(path=tmp_path / "page.png")
    page.close()


def test_it_prints_one_line_and_listens_on_loopback_alone(server: Server, results: Path) -> None:
    run = Store(results).read()
    assert server.line == f"TensorBoard shows run {run.run_id} at {server.address} (stop it with Ctrl-C)\n"
    listening = [
        connection.laddr
        for connection in psutil.Process(server.process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", server.port)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=10)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_takes_another_port_and_stops_at_once_and_silently_even_while_it_converts_traces(
    server: Server, results: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    copy = shutil.copytree(Path(results / "latest").resolve(), tmp_path / "latest").parent
    with serving(copy) as second:
        assert second.port != server.port
        started = threading.Barrier(1 + len(SESSIONS) * len(TOOLS))

        def convert(session: str, tool: str) -> None:
            query = {"run": session, "tag": tool, "use_saved_result": "false"}
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", second.port)) as connection:
                route = f"/data/plugin/profile/data?{urlencode(query)}"
                connection.sendall(f"GET {route} HTTP/1.1\r\nHost: 127.0.0.1:{second.port}\r\n\r\n".encode())
                started.wait()
                connection.recv(1)

        for job in itertools.product(SESSIONS, TOOLS):
            threading.Thread(target=convert, args=job, daemon=True).start()
        started.wait()
        children = psutil.Process(second.process.pid).children(recursive=True)
        second.process.send_signal(stop)
        assert second.process.communicate(timeout=SOON_S) == ("", "")
        assert second.process.returncode == 0
        assert not [child for child in children if child.is_running()]


def test_the_run_left_its_page(results: Path) -> None:
    assert faults((results / "latest" / REPORT_FILE).read_text()) == []


def test_a_taken_port_is_refused_in_one_sentence(server: Server, results: Path) -> None:
    assert f"port {server.port}, it was already in use" in refused(results, "--port", str(server.port))


@pytest.mark.parametrize("port", ["-5", "65536"])
def test_an_impossible_port_is_refused_in_one_sentence(results: Path, port: str) -> None:
    assert f"There is no port {port}" in refused(results, "--port", port)


def test_without_the_profile_plugin_it_says_what_to_install(results: Path) -> None:
    assert "'pip install tensorboard-plugin-profile'" in refused(
        results, program=(sys.executable, "-c", WITHOUT_PLUGIN)
    )


def test_a_run_without_traces_is_served_with_its_curves_and_figures(tmp_path: Path) -> None:
    curve = verification.Curve(0, (2.0, 1.5), (verification.Test(2, 1.4, 0.5),))
    small, large = (make_measurement(make_case(batch_size=size), [0.1]) for size in (64, 128))
    run = make_run(msgspec.structs.replace(small, curves=(curve,)), large)
    with serving(stored(tmp_path, run)) as server:
        tags = server.get("plugin/scalars/tags")
        training = server.get("plugin/scalars/scalars", run="cnn--graph--float32--cpu--b64/seed-0", tag="training/loss")
        plugins = server.get("plugins_listing")
    assert "values/ms a step" in tags["cnn--graph--float32--cpu--b128"]
    assert [point[1:] for point in training] == [[1, 2.0], [2, 1.5]]
    assert plugins["hparams"]["enabled"]
    assert not plugins["profile"]["enabled"]


@pytest.mark.parametrize("measurements", [(make_failed(make_case()),), (make_measurement(make_case()),)])
def test_a_run_with_nothing_to_show_is_refused_in_one_sentence(tmp_path: Path, measurements: Any) -> None:
    run = make_run(*measurements)
    assert "'stepbench report latest'" in refused(stored(tmp_path, run))


def test_every_case_is_a_session_of_the_profile_tab(server: Server, page: Page) -> None:
    page.goto(f"{server.address}#profile")
    frame = page.frame_locator("iframe")
    frame.get_by_role("combobox").first.click()
    expect(frame.get_by_role("option")).to_have_count(len(CASES))
    assert sorted(frame.get_by_role("option").all_inner_texts()) == sorted(SESSIONS)


def test_what_the_plugin_keeps_of_a_trace_says_that_it_is_a_training_and_is_removed_if_damaged(
    results: Path, tmp_path: Path
) -> None:
    run = Store(results).read()
    folder = shutil.copytree((results / "latest").resolve(), tmp_path / "run")
    good, damaged = (folder / session_of(case) / STATISTICS_FILE for case in CASES)
    good.write_bytes(OpStats().SerializeToString())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    write_logdir(run, summarize(run), folder / TENSORBOARD_FOLDER)
    assert OpStats.FromString(good.read_bytes()).run_environment.is_training
    assert not damaged.exists()


@pytest.mark.parametrize("case", CASES)
def test_the_overview_shows_the_step_time_of_the_trace(server: Server, results: Path, page: Page, case: str) -> None:
    (trace,) = (found.trace for found in Store(results).read().measurements if found.case.id == case)
    assert trace
    page.goto(f"{server.address}?{urlencode({'run': slug(case), 'tag': 'overview_page'})}#profile")
    row = page.frame_locator("iframe").locator("tr", has_text="Average Step Time").last
    expect(row).to_contain_text(re.compile(r"[\d.]+ ms\s*$"))
    shown_ms = float(row.inner_text().split()[-2])
    # Shown with one decimal. The time without the profiler is another, which the trace has in untraced_step_s.
    assert shown_ms == pytest.approx(1e3 * trace.step_s, rel=0.03, abs=0.06)


def test_the_trace_viewer_shows_the_steps(server: Server, results: Path, page: Page) -> None:
    page.goto(f"{server.address}?{urlencode({'run': COMPILED, 'tag': 'trace_viewer@'})}#profile")
    viewer = page.frame_locator("iframe").frame_locator("iframe")
    expect(viewer.get_by_text("/host:CPU").filter(visible=True).first).to_be_visible()
    for found in Store(results).read().measurements:
        assert found.trace
        names = {event.get("name") for event in server.tool("trace_viewer@", slug(found.case.id))["traceEvents"]}
        assert names >= {f"train {number}" for number in found.trace.facts.steps}


def test_the_operations_of_a_compiled_step_are_in_their_table(server: Server) -> None:
    table = server.tool("framework_op_stats", COMPILED)[0]
    types = [column["id"] for column in table["cols"]].index("type")
    assert any("MatMul" in row["c"][types]["v"] for row in table["rows"])


def test_the_time_series_are_the_trainings(server: Server, page: Page) -> None:
    page.goto(f"{server.address}#timeseries")
    for tag in ("training/loss", "test/accuracy"):
        card = page.locator("scalar-card", has=page.get_by_title(tag))
        for session in SESSIONS:
            expect(card).to_contain_text(re.compile(rf"{session}/seed-0\D"))


def texts(cells: Locator) -> list[str]:
    return [text for text in map(str.strip, cells.all_inner_texts()) if text]


def test_the_table_of_hparams_has_a_row_for_each_case(server: Server, page: Page) -> None:
    page.goto(f"{server.address}#hparams")
    cells = page.locator("tf-hparams-table-view vaadin-grid-cell-content")
    for case in CASES:
        expect(cells.get_by_text(case, exact=True)).to_have_count(1)
    table = texts(cells)
    assert {"converges", "execution", "precision", "ms a step"} <= set(table)
    for case, execution in zip(CASES, ("eager", "extra-matmul"), strict=True):
        start = table.index(case) + 1
        assert table[start : start + 3] == ["equivalent", execution, "float32"]


def test_the_text_is_the_report(server: Server, results: Path, page: Page) -> None:
    command, wide = [STEPBENCH, "report", "--results", str(results)], {**os.environ, "COLUMNS": "160"}
    report = subprocess.run(command, env=wide, capture_output=True, text=True, check=True).stdout
    page.goto(f"{server.address}#text")
    text = page.locator("tf-markdown-view pre")
    expect(text).to_contain_text("extra-matmul/float32")
    assert texts(text)[0].splitlines() == [line.rstrip() for line in report.splitlines()]
