"""The pytest plugin: a benchmark of a workload is a marker and a fixture.

.. code-block:: python

    pytestmark = pytest.mark.stepbench(workload="my_model.py:workload", execution="eager,graph,xla", batch_size="32")

    def test_training_step(measured_step):
        assert measured_step.failure is None

    def test_convergence(verified_step):
        assert verified_step.equivalence.verdict == "equivalent"

There is one test a case. The engine measures and verifies all selected cases, before the first of these tests ends;
pytest-benchmark is given the block times, and stores and compares them as usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stepbench.commands import Planned, Request
    from stepbench.reporting.summary import CaseSummary
    from stepbench.spec import Case
    from stepbench.store import Run, Store

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


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means and begin a session that has measured nothing."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(workload, execution, precision, device, batch_size, steps_per_call, data, plugin): the cases that "
        f"{MEASURED!r} and {VERIFIED!r} stand for, one test each; every argument as the option of 'stepbench run'.",
    )
    config.stash[_SESSION] = _Session(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case."""
    fixtures = [name for name in (MEASURED, VERIFIED) if name in metafunc.fixturenames]
    if not fixtures:
        return
    marker = metafunc.definition.get_closest_marker(MARKER)
    planned = metafunc.config.stash[_SESSION].plan(marker.kwargs if marker else {})
    chosen = [_Chosen(planned, case) for case in planned.plan.cases]
    ids = [choice.case.id for choice in chosen]
    metafunc.parametrize(fixtures, [[choice] * len(fixtures) for choice in chosen], indirect=True, ids=ids)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Have pytest-benchmark read each test's times from a clock that replays what a worker measured."""
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
    """Show the table that ``stepbench report`` shows."""
    import io

    from rich.console import Console

    from stepbench.reporting.html.files import REPORT_FILE
    from stepbench.reporting.summary import summarize
    from stepbench.reporting.terminal import print_summary

    for run, folder in config.stash[_SESSION].runs():
        text = io.StringIO()
        console = Console(file=text, width=terminalreporter._tw.fullwidth, highlight=False)  # noqa: SLF001 - pytest offers no public way to its width.
        print_summary(summarize(run), console)
        terminalreporter.section("stepbench")
        terminalreporter.write(text.getvalue())
        figures = f", with figures in {REPORT_FILE}" if (folder / REPORT_FILE).exists() else ""
        terminalreporter.write_line(f"\nThe run is in {folder}{figures}.")


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
def measured_step(request: pytest.FixtureRequest, benchmark: Any) -> CaseSummary:
    """The measured case of this test, whose times pytest-benchmark is given; a case that failed fails the test."""
    summary, seconds = request.config.stash[_SESSION].measured(request.param)
    if seconds:
        clock = request.node.get_closest_marker("benchmark").kwargs["timer"]
        clock.load(seconds)
        benchmark.extra_info.update(case=summary.id, speedup=summary.speedup.value if summary.speedup else None)
        benchmark.pedantic(clock.advance, rounds=len(seconds), iterations=1)
    return summary


@pytest.fixture
def verified_step(request: pytest.FixtureRequest) -> CaseSummary:
    """The verified case of this test; one that converges differently fails it, and one that is undecided is skipped."""
    summary, _ = request.config.stash[_SESSION].measured(request.param)
    return summary


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Let a failed case fail its test. In a fixture it would be an error of the test's setup."""
    from stepbench.analysis.equivalence import Verdict

    if _chosen(pyfuncitem) is None:
        return
    summary: Any = pyfuncitem.funcargs.get(MEASURED) or pyfuncitem.funcargs[VERIFIED]
    if summary.failure is not None:
        pytest.fail(f"{summary.failure.kind}: {summary.failure.message}", pytrace=False)
    verdict, reasons = summary.equivalence.verdict, "; ".join(summary.equivalence.why)
    if VERIFIED not in pyfuncitem.funcargs or verdict is Verdict.EQUIVALENT:
        return
    if verdict is Verdict.DIFFERENT:
        pytest.fail(f"converges differently: {reasons}", pytrace=False)
    pytest.skip(f"{verdict.replace('_', ' ')}: {reasons or 'verification was not asked for'}")


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


class _Chosen:
    """One case of one marker's plan: the parameter of a test."""

    def __init__(self, planned: Planned, case: Case) -> None:
        self.planned = planned
        self.case = case

    def __repr__(self) -> str:
        return self.case.id  # pytest-benchmark writes it into its JSON.


def _chosen(item: pytest.Item) -> _Chosen | None:
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    return next((value for value in values if isinstance(value, _Chosen)), None)


class _Session:
    """What this pytest session plans and has measured: one run for each distinct marker."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._plans: dict[Request, Planned] = {}
        self._selected: dict[int, list[Case]] = {}
        self._runs: dict[int, Run] = {}

    def plan(self, marked: Mapping[str, Any]) -> Planned:
        from stepbench.commands import make_plan
        from stepbench.errors import StepbenchError
        from stepbench.options import measuring_request
        from stepbench.spec import Tracing, Verification

        verification = None if self._config.getoption("--stepbench-no-verify") else Verification()
        tracing = None if self._config.getoption("--stepbench-no-trace") else Tracing()
        arguments = {**marked, **self._overrides(), "verification": verification, "tracing": tracing}
        if isinstance(arguments.get("plugin"), str):
            arguments["plugin"] = (arguments["plugin"],)
        try:
            request = measuring_request(**arguments)
            if request not in self._plans:
                self._plans[request] = make_plan(request)
        except (StepbenchError, TypeError) as error:
            raise pytest.UsageError(f"stepbench: {error}") from error
        return self._plans[request]

    def select(self, chosen: _Chosen) -> None:
        cases = self._selected.setdefault(id(chosen.planned), [])
        if chosen.case not in cases:
            cases.append(chosen.case)

    def measured(self, chosen: _Chosen) -> tuple[CaseSummary, list[float]]:
        """The case's summary and its blocks' seconds a step; measures all selected cases when first asked."""
        from stepbench.reporting.summary import summarize

        key = id(chosen.planned)
        if key not in self._runs:
            self._runs[key] = self._measure(chosen.planned)
        run = self._runs[key]
        summary = next(case for case in summarize(run).cases if case.id == chosen.case.id)
        measurement = next(found for found in run.measurements if found.case == chosen.case)
        blocks = [block for replicate in measurement.replicates for block in replicate.blocks]
        return summary, [block.seconds / block.steps for block in blocks]

    def runs(self) -> list[tuple[Run, Path]]:
        return [(run, self._store().folder(run.run_id)) for run in self._runs.values()]

    def _measure(self, planned: Planned) -> Run:
        from stepbench.commands import Planned, measure_run, start_run
        from stepbench.options import duration
        from stepbench.reporting.progress import shown

        budget = self._config.getoption("--stepbench-budget")
        plan = planned.plan.with_cases(tuple(self._selected[id(planned)]))
        store = self._store()
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled(), shown() as report:
            run = start_run(Planned(plan, planned.data), store)
            return measure_run(run, store, report.progress, duration("--stepbench-budget", budget) if budget else None)

    def _overrides(self) -> dict[str, Any]:
        given = {name: self._config.getoption(f"--stepbench-{name}") for name in ("data", "replicates", "rounds")}
        return {name: value for name, value in given.items() if value is not None}

    def _store(self) -> Store:
        from stepbench.store import Store

        return Store(Path(self._config.getoption("--stepbench-results")))


_SESSION = pytest.StashKey[_Session]()
