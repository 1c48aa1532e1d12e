"""The command ``explain``: why is case A faster or slower than case B?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stepbench.commands.case_names import choose_pair
from stepbench.errors import StepbenchError
from stepbench.records.store import Store

if TYPE_CHECKING:
    from stepbench.report.explain import Explained


def explain_cases(a: str, b: str, run_name: str, results: Path) -> Explained:
    """Account for the difference between two traced cases, named by their ids or parts of them.

    Args:
        a: a case; ``RUN:CASE`` is one of another run.
        b: the other case, likewise.
        run_name: the run that holds them.
        results: the folder that holds runs.

    Raises:
        StepbenchError: when there is no such run, or no such case with a trace in it.
    """
    from stepbench.report.explain import explained, traced

    runs, names, with_traces = [], [], []
    for name in (a, b):
        other, colon, case = name.rpartition(":")
        run = Store(results).read(other if colon else run_name)
        runs.append(run)
        names.append(case)
        with_traces.append({found.case: found for found in run.measurements if found.trace})
        if not with_traces[-1]:
            raise StepbenchError(f"Run {run.run_id} has no traces: make some with 'stepbench profile'.")
    same = runs[0].run_id == runs[1].run_id
    first, second = choose_pair(names[0], names[1], *map(list, with_traces), distinct=same)
    return explained(traced(runs[0], with_traces[0][first]), traced(runs[1], with_traces[1][second]))
