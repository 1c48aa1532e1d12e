"""What one pytest session plans, and measures or gates: all selected cases of a marker once the first is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stepbench.errors import InterruptedRunError, StepbenchError

if TYPE_CHECKING:
    from stepbench.commands.plan import Planned
    from stepbench.commands.request import Request
    from stepbench.records.cases import Case
    from stepbench.records.gate import Gate, GateSettings
    from stepbench.records.progress import Tell
    from stepbench.records.store import Run, Store
    from stepbench.report.case_summary import CaseSummary


@dataclass(frozen=True)
class Chosen:
    """One case of what one marker asks for: the parameter of a test."""

    request: Request
    case: Case

    def __repr__(self) -> str:
        return self.case.id  # pytest-benchmark writes it into its JSON.


class Session:
    """The plans of a session's markers, and one run or one gate for each of them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._plans: dict[Request, Planned] = {}
        self._selected: dict[Request, list[Case]] = {}
        self._runs: dict[Request, Run] = {}
        self._gates: dict[Request, Gate | StepbenchError] = {}

    @property
    def base(self) -> str | None:
        """The revision to gate against; None if cases are to be measured."""
        name: str | None = self._option("gate")
        return name

    def choices(self, marked: Mapping[str, Any]) -> list[Chosen]:
        """All that a marker of these arguments asks for.

        Raises:
            pytest.UsageError: when something of it, or of the command line, does not exist or cannot be.
        """
        from stepbench.commands.plan import make_plan

        try:
            self._check_options()
            request = self._request(marked)
            if request not in self._plans:
                self._plans[request] = make_plan(request)
        except (StepbenchError, TypeError) as error:
            raise pytest.UsageError(f"stepbench: {error}") from error
        return [Chosen(request, case) for case in self._plans[request].plan.cases]

    def select(self, chosen: Chosen) -> None:
        """Have this case measured or gated too."""
        cases = self._selected.setdefault(chosen.request, [])
        if chosen.case not in cases:
            cases.append(chosen.case)

    def measured(self, chosen: Chosen) -> tuple[CaseSummary, list[float]]:
        """The case's summary and its blocks' seconds a step."""
        from stepbench.report.summary import summarize

        if chosen.request not in self._runs:
            self._runs[chosen.request] = self._measure(chosen.request)
        run = self._runs[chosen.request]
        summary = next(case for case in summarize(run).cases if case.id == chosen.case.id)
        measurement = next(found for found in run.measurements if found.case == chosen.case)
        blocks = [block for replicate in measurement.replicates for block in replicate.blocks]
        return summary, [block.seconds / block.steps for block in blocks]

    def gated(self, chosen: Chosen) -> Gate:
        """The gate of the case.

        Raises:
            StepbenchError: when there can be none; the same one for each case that it is asked for.
        """
        if chosen.request not in self._gates:
            try:
                self._gates[chosen.request] = self._gate(chosen.request)
            except StepbenchError as error:
                self._gates[chosen.request] = error
        found = self._gates[chosen.request]
        if isinstance(found, StepbenchError):
            raise found
        return found

    def runs(self) -> list[tuple[Run, Path]]:
        """The runs so far and their folders."""
        return [(run, self.store.folder(run.run_id)) for run in self._runs.values()]

    def gates(self) -> list[Gate]:
        """The gates so far."""
        return [gate for gate in self._gates.values() if not isinstance(gate, StepbenchError)]

    @property
    def store(self) -> Store:
        """Where runs and gates are kept."""
        from stepbench.records.store import Store

        return Store(Path(self._option("results")))

    def _check_options(self) -> None:
        """Refuse what is wrong before anything is measured."""
        self._budget_s()
        if self.base is not None:
            from stepbench.engine.worktrees import check_revision

            self._gate_settings()
            check_revision(self._config.rootpath, self.base)

    def _request(self, marked: Mapping[str, Any]) -> Request:
        from stepbench.commands.request import GATE_DEFAULTS, measuring_request
        from stepbench.records.cases import Tracing, Verification

        given = {name: self._option(name) for name in ("data", "replicates", "rounds")}
        arguments = {**marked, **{name: value for name, value in given.items() if value is not None}}
        if self.base is not None:
            return measuring_request(**{**GATE_DEFAULTS, **arguments})
        verification = None if self._option("no_verify") else Verification()
        tracing = None if self._option("no_trace") else Tracing()
        return measuring_request(**arguments, verification=verification, tracing=tracing)

    def _measure(self, request: Request) -> Run:
        from stepbench.commands.plan import Planned
        from stepbench.commands.run import measure_run, start_run

        planned = self._plans[request]
        plan = planned.plan.with_cases(tuple(self._selected[request]))
        with self._shown() as tell:
            run = start_run(Planned(plan, planned.data), self.store)
            return measure_run(run, self.store, tell, self._budget_s())

    def _gate(self, request: Request) -> Gate:
        from stepbench.commands.gate import GateRequest, run_gate

        assert self.base is not None, "asked only in a session that gates"
        asked = GateRequest(
            request=replace(request, only=tuple(case.id for case in self._selected[request])),
            base=self.base,
            head=None,
            repository=self._config.rootpath,
            settings=self._gate_settings(),
            budget_s=self._budget_s(),
        )
        with self._shown() as tell:
            return run_gate(asked, self.store, tell)

    @contextmanager
    def _shown(self) -> Iterator[Tell]:
        """Show progress past pytest's capture; Ctrl-C ends the session, as whatever comes next would measure again."""
        from stepbench.report.progress import shown

        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled(), shown() as shown_progress:
            try:
                yield shown_progress.progress
            except InterruptedRunError as error:
                pytest.exit(str(error), returncode=InterruptedRunError.exit_code)

    def _gate_settings(self) -> GateSettings:
        from stepbench.commands.options import share
        from stepbench.records.gate import GateSettings

        threshold = self._option("threshold")
        return GateSettings() if threshold is None else GateSettings(share("--stepbench-threshold", threshold))

    def _budget_s(self) -> float | None:
        from stepbench.commands.options import duration

        budget = self._option("budget")
        return None if budget is None else duration("--stepbench-budget", budget)

    def _option(self, name: str) -> Any:
        return self._config.getoption(f"stepbench_{name}")
