"""The pytest plugin: a benchmark of a workload is a marker and a fixture.

.. code-block:: python

    pytestmark = pytest.mark.stepbench(workload="my_model.py:workload", execution="eager,graph,xla", batch_size="32")

    def test_training_step(measured_step):
        assert measured_step.failure is None

    def test_convergence(verified_step):
        assert verified_step.equivalence.verdict == "equivalent"

There is one test a case. The engine measures and verifies all selected cases, before the first of these tests ends;
pytest-benchmark is given the block times, and stores and compares them as usual.

With ``--stepbench-gate=REV`` there is no run: the tests of ``measured_step`` say whether their cases are slower than at
REV, without running their own body, and those of ``verified_step`` are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from stepbench.errors import StepbenchError
from stepbench.pytest_plugin.session import Chosen, Session

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from stepbench.report.case_summary import CaseSummary

MEASURED = "measured_step"
VERIFIED = "verified_step"
MARKER = "stepbench"
BENCHMARK_FILE = "benchmark.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer what decides how, not what, is measured; the markers say what."""
    group = parser.getgroup("stepbench")
    group.addoption("--stepbench-results", default="results", metavar="DIR", help="The folder that holds runs.")
    group.addoption("--stepbench-data", metavar="DATA", help="As stepbench's --data, over the markers' own.")
    group.addoption("--stepbench-replicates", type=int, metavar="N", help="Fresh processes for each case.")
    group.addoption("--stepbench-rounds", type=int, metavar="N", help="Blocks of each case in one process.")
    group.addoption("--stepbench-no-verify", action="store_true", help="Do not verify that variants converge alike.")
    group.addoption("--stepbench-no-trace", action="store_true", help="Do not capture profiler traces.")
    group.addoption("--stepbench-budget", metavar="TIME", help="About how long to measure at most, such as 4m.")
    group.addoption("--stepbench-gate", metavar="REV", help="Judge whether cases are slower than at this revision.")
    group.addoption("--stepbench-threshold", metavar="SHARE", help="The slowdown that matters to it, such as 3%%.")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means and begin a session that has measured nothing."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(workload, execution, precision, device, batch_size, steps_per_call, setting, data, plugin): "
        f"the cases that {MEASURED!r} and {VERIFIED!r} stand for, one test each; every argument as the option of "
        "'stepbench run'.",
    )
    config.stash[_SESSION] = Session(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case."""
    fixtures = [name for name in (MEASURED, VERIFIED) if name in metafunc.fixturenames]
    if not fixtures:
        return
    marker = metafunc.definition.get_closest_marker(MARKER)
    chosen = metafunc.config.stash[_SESSION].choices(marker.kwargs if marker else {})
    ids = [choice.case.id for choice in chosen]
    metafunc.parametrize(fixtures, [[choice] * len(fixtures) for choice in chosen], indirect=True, ids=ids)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a gate does not judge; have pytest-benchmark read times from a clock that replays a worker's."""
    if config.stash[_SESSION].base is not None:
        convergence = [item for item in items if _chosen(item) and MEASURED not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=convergence)
        items[:] = [item for item in items if item not in convergence]
    for item in items:
        if (chosen := _chosen(item)) is not None:
            group = "/".join(str(part) for part in chosen.case.group)
            item.add_marker(pytest.mark.benchmark(timer=ReplayClock(), group=group, warmup=False))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which cases are left after ``-k`` and the like: only these are measured."""
    ours = session.config.stash[_SESSION]
    for item in session.items:
        if (chosen := _chosen(item)) is not None:
            ours.select(chosen)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the tables that ``stepbench report`` and ``stepbench gate`` show."""
    session = config.stash[_SESSION]
    for run, folder in session.runs():
        from stepbench.report.report import print_summary
        from stepbench.report.summary import summarize

        _write(terminalreporter, functools.partial(print_summary, summarize(run)))
        terminalreporter.write_line(f"\nThe run is in {_told(folder)}.")
    for gate in session.gates():
        from stepbench.commands.gate import notes
        from stepbench.judge.gate import judge_gate
        from stepbench.report.gate import verdict_blocks
        from stepbench.report.text import print_chapters

        said = notes(gate, session.store)
        _write(terminalreporter, functools.partial(print_chapters, [verdict_blocks(gate, judge_gate(gate), said)]))
        terminalreporter.write_line(f"\nThe gate is in {_told(session.store.folder(gate.gate_id))}.")


def _told(folder: Path) -> str:
    from stepbench.report.html.files import REPORT_FILE

    return f"{folder}, with figures in {REPORT_FILE}" if (folder / REPORT_FILE).exists() else str(folder)


def _write(terminalreporter: pytest.TerminalReporter, show: Callable[[Console], None]) -> None:
    import io

    from rich.console import Console

    text = io.StringIO()
    width = terminalreporter._tw.fullwidth  # noqa: SLF001 - pytest offers no public way to its width.
    show(Console(file=text, width=width, highlight=False))
    terminalreporter.section("stepbench")
    terminalreporter.write(text.getvalue())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave pytest-benchmark's own JSON with the run, whatever else it was told to save."""
    from pytest_benchmark.utils import safe_dumps

    config = session.config
    benchmarks = getattr(getattr(config, "_benchmarksession", None), "benchmarks", [])
    runs = config.stash[_SESSION].runs()
    if not runs or not benchmarks:
        return
    hook = config.hook
    content = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=benchmarks,
        include_data=True,
        machine_info=hook.pytest_benchmark_generate_machine_info(config=config),
        commit_info=hook.pytest_benchmark_generate_commit_info(config=config),
    )
    for _, folder in runs:
        (folder / BENCHMARK_FILE).write_text(safe_dumps(content, indent=1))  # type: ignore[no-untyped-call] # pytest-benchmark has no types.


@pytest.fixture
def measured_step(request: pytest.FixtureRequest, benchmark: Any) -> CaseSummary | None:
    """The measured case of this test, whose times pytest-benchmark is given; a case that failed fails the test."""
    if request.config.stash[_SESSION].base is not None:
        benchmark.disabled = True
        benchmark(lambda: None)  # Unused, it would warn.
        return None
    summary, seconds = request.config.stash[_SESSION].measured(request.param)
    if seconds:
        clock = request.node.get_closest_marker("benchmark").kwargs["timer"]
        clock.load(seconds)
        benchmark.extra_info.update(case=summary.id, speedup=summary.speedup.value if summary.speedup else None)
        benchmark.pedantic(clock.advance, rounds=len(seconds), iterations=1)
    return summary


@pytest.fixture
def verified_step(request: pytest.FixtureRequest) -> CaseSummary | None:
    """The verified case of this test; one that converges differently fails it, and one that is undecided is skipped."""
    if request.config.stash[_SESSION].base is not None:
        return None
    summary, _ = request.config.stash[_SESSION].measured(request.param)
    return summary


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Let a failed case fail its test, in a fixture it would be an error of the test's setup; or judge it by a gate."""
    chosen = _chosen(pyfuncitem)
    if chosen is None:
        return None
    session = pyfuncitem.config.stash[_SESSION]
    if session.base is not None:
        _judge(session, chosen)
        return True  # The test's own body is about a measurement, and there is none.
    summary: Any = pyfuncitem.funcargs.get(MEASURED) or pyfuncitem.funcargs[VERIFIED]
    _check(summary, verified=VERIFIED in pyfuncitem.funcargs)
    return None


def _check(summary: CaseSummary, *, verified: bool) -> None:
    from stepbench.judge.training import Verdict

    if summary.failure is not None:
        pytest.fail(f"{summary.failure.kind}: {summary.failure.message}", pytrace=False)
    verdict, reasons = summary.equivalence.verdict, "; ".join(summary.equivalence.why)
    if not verified or verdict is Verdict.EQUIVALENT:
        return
    if verdict is Verdict.DIFFERENT:
        pytest.fail(f"converges differently: {reasons}", pytrace=False)
    pytest.skip(f"{verdict.replace('_', ' ')}: {reasons or 'verification was not asked for'}")


def _judge(session: Session, chosen: Chosen) -> None:
    from stepbench.judge.gate import FINDINGS, GateVerdict, judge_gate
    from stepbench.report.gate import case_text

    try:
        gate = session.gated(chosen)
    except StepbenchError as error:
        pytest.fail(f"stepbench: {error}", pytrace=False)
    judgement = judge_gate(gate)
    (verdict,) = (case.verdict for case in judgement.cases if case.id == chosen.case.id)
    if verdict in FINDINGS:
        pytest.fail(case_text(gate, chosen.case.id, judgement), pytrace=False)
    if verdict is GateVerdict.INCONCLUSIVE:
        pytest.skip(case_text(gate, chosen.case.id, judgement))


class ReplayClock:
    """A timer for pytest-benchmark that passes by the durations that a worker measured."""

    def __init__(self) -> None:
        self._now = 0.0
        self._durations: list[float] = []

    def load(self, durations: Sequence[float]) -> None:
        """Take the seconds by which the next calls of :meth:`advance` move the clock on."""
        self._durations = list(reversed(durations))

    def advance(self) -> None:
        """Let the next duration pass; none is left after the last, when pytest-benchmark calls once more."""
        if self._durations:
            self._now += self._durations.pop()

    def __call__(self) -> float:
        """The clock's time in seconds."""
        return self._now


def _chosen(item: pytest.Item) -> Chosen | None:
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    return next((value for value in values if isinstance(value, Chosen)), None)


_SESSION = pytest.StashKey[Session]()
