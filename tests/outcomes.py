"""What a run through the command line leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepbench.records.run import Measurement
from stepbench.records.store import Run, Store


@dataclass(frozen=True)
class Outcome:
    """How the command ended, and the run in its results."""

    exit_code: int
    results: Path
    errors: str = ""
    survivors: tuple[str, ...] = ()

    @property
    def run(self) -> Run:
        return Store(self.results).read()

    @property
    def folder(self) -> Path:
        return self.results / self.run.run_id

    def __getitem__(self, name: str) -> Measurement:
        """What was measured of one execution, or of one workload."""
        return next(
            found for found in self.run.measurements if name in (found.case.variant.execution, found.case.workload)
        )
