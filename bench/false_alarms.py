"""How often level 1 calls an innocent step different: many kinds of models, all executions, precisions and seeds.

Run: python bench/false_alarms.py [SEEDS [KIND ...]] (about 20 minutes a seed on two cores; default 2 seeds, all kinds)
Another number of threads, or oneDNN off: set TF_NUM_INTRAOP_THREADS or TF_ENABLE_ONEDNN_OPTS around it.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import forcing
import kinds
from scipy import stats

from stepbench.judge.one_step import complaints
from stepbench.records.cases import BUILT_IN_EXECUTIONS, KERAS, Case, Precision
from stepbench.training.task import open_task
from stepbench.training.workload import Workload
from stepbench.worker.reference import ReferenceMaker


@dataclasses.dataclass
class Count:
    """Of the judgements of innocent steps."""

    judged: int = 0
    different: int = 0
    not_comparable: int = 0

    def __str__(self) -> str:
        interval = "-"
        if self.judged:
            exact = stats.binomtest(self.different, self.judged).proportion_ci(0.95, method="exact")
            interval = f"{exact.low:.1%} to {exact.high:.1%}"
        return (
            f"{self.different} false alarms in {self.judged} judgements (95 %: {interval}), "
            f"{self.not_comparable} more not comparable"
        )


def cases_of(workload: forcing.Kind) -> tuple[Case, ...]:
    executions = [one for one in BUILT_IN_EXECUTIONS if one != KERAS or isinstance(workload, Workload)]
    return tuple(forcing.case_of(*axes) for axes in itertools.product(executions, Precision))


def judge(workload: forcing.Kind, seed: int, count: Count) -> Iterator[str]:
    """What is said of the steps of a workload that are called different."""
    cases = cases_of(workload)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with forcing.own_tapes():
            header = ReferenceMaker(open_task(workload, forcing.SOURCE), cases, seed).make(forcing.POINTS, folder)
        for case in cases:
            if case.variant.precision not in header.references:
                continue  # Keras cannot run it either.
            found = forcing.agreement_from(folder, workload, case, seed)
            if found.not_comparable:
                count.not_comparable += 1
                continue
            count.judged += 1
            if wrong := complaints(found):
                count.different += 1
                yield f"{workload.name}, seed {seed}, {case.variant}: {'; '.join(wrong)}"


def main() -> None:
    count = Count()
    _, seeds, *names = [*sys.argv, "2"][: max(2, len(sys.argv))]
    chosen = [kinds.KINDS[name] for name in names or kinds.KINDS]
    for seed in range(int(seeds)):
        for workload in chosen:
            for line in judge(workload, seed, count):
                sys.stdout.write(f"{line}\n")
            sys.stdout.write(f"{workload.name}, seed {seed}: {count} so far\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count}, over {len(chosen)} kinds of models\n")


if __name__ == "__main__":
    main()
