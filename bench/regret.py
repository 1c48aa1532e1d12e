"""How far from the best the way is that a race recommends: races replayed on processes that were measured once.

The ground truth is a run of all candidates, each in many processes, such as

    stepbench run --execution graph,xla --precision float32,mixed_bfloat16 --steps-per-call 1,20 \
        --setting intra_threads=default,1 --setting onednn=on,off --setting malloc=default,tcmalloc \
        --replicates 8 --rounds 4 --no-verify --no-trace --no-input-pipeline

Then each replayed race draws the processes of its heats anew from those, and takes as long as they took. Beside it,
with the same processes and seconds: random search that keeps the best of one process each, and, where it is installed,
Optuna's TPE with its Wilcoxon pruner.

Run: python bench/regret.py RUN [--races 200] [--budget 600]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from races import held

from stepbench.engine.racing import RACING_SHARE
from stepbench.engine.tune import ROUNDS
from stepbench.judge.tune import costs_of
from stepbench.records.cases import GRAPH, Case, Precision
from stepbench.records.run import Measurement, Replicate
from stepbench.records.store import Store
from stepbench.records.tune import Change, Race, Stage

SEED = 20261128
SLOWER_THAN_THE_DEFAULT = 0.02
"""As a share, beyond which a recommendation is worse than none."""


@dataclass(frozen=True)
class Ground:
    """What was measured of all candidates."""

    costs: dict[Case, list[float]]
    """Logarithms of seconds an example, one a process."""
    seconds: dict[Case, float]
    """That a process takes in a heat."""
    default: Case

    def truth(self, case: Case) -> float:
        """The logarithm of what an example costs by all processes."""
        return statistics.fmean(self.costs[case])

    @property
    def best(self) -> Case:
        """The fastest of all."""
        return min(self.costs, key=self.truth)

    def regret(self, case: Case) -> float:
        """How much slower than the best a candidate is, as a share."""
        return math.expm1(self.truth(case) - self.truth(self.best))


def ground_of(measurements: Sequence[Measurement]) -> Ground:
    """From a run of all candidates."""
    costs = {case: list(found.values()) for case, found in costs_of(measurements).items()}
    seconds = {one.case: statistics.median(map(_seconds, one.replicates)) for one in measurements if one.case in costs}
    default = next(
        case
        for case in costs
        if (case.variant.execution, case.variant.precision, case.suffix) == (GRAPH, Precision.FLOAT32, "")
    )
    return Ground(costs, seconds, default)


def _seconds(replicate: Replicate) -> float:
    phases = replicate.phases
    ready = phases.data_s + phases.build_s + phases.first_call_s + phases.warm_up_s
    return ready + ROUNDS * statistics.fmean(block.seconds for block in replicate.blocks)


def race_over(ground: Ground, budget_s: float) -> Race:
    """The race that ``tune`` would hold over these candidates."""
    cases = list(ground.costs)
    variants = dict.fromkeys(case.variant for case in cases)
    calls = sorted({case.steps_per_call for case in cases})
    settings = dict.fromkeys(case.settings for case in cases)
    threads = [one for one in settings if one and all(_is_threaded(setting.name) for setting in one)]
    alone = [one for one in settings if len(one) == 1 and not _is_threaded(one[0].name)]
    stages = (
        Stage("ways", tuple(Change(execution=one.execution, precision=one.precision) for one in variants)),
        Stage("calls", tuple(Change(steps_per_call=steps) for steps in calls)),
        Stage("threads", tuple(Change(settings=one) for one in threads)),
        Stage("others", tuple(Change(settings=one) for one in alone)),
    )
    return Race(run_id="replayed", default=ground.default, stages=stages, budget_s=budget_s)


def _is_threaded(name: str) -> bool:
    return name in ("intra_threads", "inter_threads", "processors", "onednn")


def raced(ground: Ground, budget_s: float, generator: np.random.Generator) -> tuple[Case, bool]:
    """What a race recommends, and whether it names a tie."""

    def draw(generator: np.random.Generator, cases: tuple[Case, ...]) -> dict[Case, float]:
        return {case: float(generator.choice(ground.costs[case])) for case in cases}

    finish = held(race_over(ground, budget_s), draw, generator, again=0, seconds=ground.seconds)
    return finish.choice, len(finish.standing.racing) > 1


def searched(ground: Ground, budget_s: float, generator: np.random.Generator) -> tuple[Case, bool]:
    """Random search: the best of one process each, until the time is up."""
    spent, found = 0.0, dict[Case, float]()
    for index in generator.permutation(len(ground.costs)):
        case = list(ground.costs)[index]
        spent += ground.seconds[case]
        if spent > RACING_SHARE * budget_s and found:
            break
        found[case] = float(generator.choice(ground.costs[case]))
    return min(found, key=found.__getitem__), False


def optimised(ground: Ground, budget_s: float, generator: np.random.Generator) -> tuple[Case, bool]:
    """Optuna: TPE proposes, processes are its trial's steps, and the Wilcoxon pruner drops the trial early."""
    import optuna  # type: ignore[import-not-found] # Nobody needs it but for this comparison.

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spent = 0.0
    names = {case.id: case for case in ground.costs}

    def objective(trial: optuna.Trial) -> float:
        nonlocal spent
        case = names[trial.suggest_categorical("case", list(names))]
        costs = []
        for step in range(3):
            spent += ground.seconds[case]
            costs.append(float(generator.choice(ground.costs[case])))
            trial.report(costs[-1], step)
            if trial.should_prune():
                break
        if spent > RACING_SHARE * budget_s:
            trial.study.stop()
        return statistics.fmean(costs)

    sampler = optuna.samplers.TPESampler(seed=int(generator.integers(2**31)))
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.1))
    study.optimize(objective, n_trials=1000)
    return names[study.best_params["case"]], False


def main() -> None:
    """Print the regret of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--races", type=int, default=200)
    parser.add_argument("--budget", type=float, default=600.0)
    parser.add_argument("--results", type=Path, default=Path("results"))
    asked = parser.parse_args()
    ground = ground_of(Store(asked.results).read(asked.run).measurements)
    second = sorted(map(ground.regret, ground.costs))[1]
    write = sys.stdout.write
    write(f"{len(ground.costs)} candidates; the best is {ground.best.id}, by {second:.1%}; ")
    write(f"the default is {ground.regret(ground.default):.1%} slower\n")
    write("                mean regret  19 of 20 within  slower than the default  the best itself  ties\n")
    rivals: dict[str, Callable[[Ground, float, np.random.Generator], tuple[Case, bool]]] = {
        "stepbench tune": raced,
        "random search": searched,
        "Optuna": optimised,
    }
    for name, rival in rivals.items():
        generator = np.random.default_rng(SEED)
        try:
            found = [rival(ground, asked.budget, generator) for _ in range(asked.races)]
        except ImportError:
            write(f"{name:15} is not installed: pip install optuna\n")
            continue
        regrets = [ground.regret(case) for case, _ in found]
        worse = ground.regret(ground.default) + SLOWER_THAN_THE_DEFAULT
        write(
            f"{name:15} {statistics.fmean(regrets):11.2%} {float(np.quantile(regrets, 0.95)):16.2%} "
            f"{sum(regret > worse for regret in regrets):16} of {asked.races} "
            f"{sum(case == ground.best for case, _ in found) / asked.races:16.0%} "
            f"{sum(tie for _, tie in found) / asked.races:5.0%}\n"
        )


if __name__ == "__main__":
    main()
