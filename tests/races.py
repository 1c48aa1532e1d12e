"""Races whose truth is known: heats are drawn instead of measured, all else is the engine's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from stepbench.engine.racing import next_heat
from stepbench.judge.statistics import Estimate, from_logs
from stepbench.judge.tune import Standing, differences, raced, recommended
from stepbench.records.cases import Case, Device, Precision, Variant
from stepbench.records.settings import Setting
from stepbench.records.tune import Change, Heat, Race, Stage

SEED = 20261128
START_S = 5.0
"""Of a heat, for each candidate in it."""

Draw = Callable[[np.random.Generator, tuple[Case, ...]], Mapping[Case, float]]
"""Gives the logarithm of what an example costs in one heat, of each candidate in it."""


def default_case() -> Case:
    """A graph in float32."""
    return Case("w", Variant("graph", Precision.FLOAT32), Device.CPU, 64)


def a_race(budget_s: float = 600.0) -> Race:
    """Nine ways, then 20 steps a call, then threads and kernels, then the allocator."""
    ways = [Change(execution=way, precision=kind) for way in ("eager", "graph", "xla") for kind in Precision]
    calls = [Change(steps_per_call=20)]
    threads, kernels = Setting("intra_threads", "1"), Setting("onednn", "off")
    threaded = [Change(settings=chosen) for chosen in ((threads,), (kernels,), (threads, kernels))]
    alone = [Change(settings=(Setting("malloc", "tcmalloc"),))]
    named = {"ways": ways, "calls": calls, "threads": threaded, "others": alone}
    stages = tuple(Stage(name, tuple(changes)) for name, changes in named.items())
    return Race(run_id="r", default=default_case(), stages=stages, budget_s=budget_s)


@dataclass
class Noise:
    """What comes between the truth and a heat's figures."""

    process: float = 0.02
    """Standard deviation of a process."""
    heat: float = 0.05
    """Of what all processes of a heat share."""
    unequal: bool = False
    """Whether candidates spread differently, from half as much to twice."""
    spells: float = 0.0
    """The share of processes that a slow spell hits, of 10 to 30 %."""
    together: float = 0.0
    """The correlation of neighbours in a heat, beside what all share."""

    def drawn(self, truth: Callable[[Case], float]) -> Draw:
        """Heats of candidates whose costs' logarithms are truly those."""

        def draw(generator: np.random.Generator, cases: tuple[Case, ...]) -> Mapping[Case, float]:
            shared = generator.normal(0, self.heat)
            own = generator.normal(0, 1, len(cases))
            own = own * math.sqrt(1 - self.together) + np.roll(own, 1) * math.sqrt(self.together)
            spell = (generator.random(len(cases)) < self.spells) * generator.uniform(0.1, 0.3, len(cases))
            scale = [2.0 ** (len(case.id) % 3 - 1) if self.unequal else 1.0 for case in cases]
            return {
                case: truth(case) + shared + self.process * scale[at] * own[at] + spell[at]
                for at, case in enumerate(cases)
            }

        return draw


@dataclass(frozen=True)
class Finish:
    """A race that was held."""

    race: Race
    costs: dict[Case, dict[int, float]]
    standing: Standing[Case]
    choice: Case
    by_race: Estimate | None
    """How many times as fast as the default the choice is, from the heats that chose it."""
    again: Estimate | None
    """The same from fresh ones."""


def held(
    race: Race,
    draw: Draw,
    generator: np.random.Generator,
    again: int = 5,
    seconds: Mapping[Case, float] | None = None,
) -> Finish:
    """Hold a race to its end; candidates that have no seconds, where any are given, cannot be measured."""
    costs: dict[Case, dict[int, float]] = {}

    def hold(number: int, cases: tuple[Case, ...]) -> None:
        for case, cost in draw(generator, cases).items():
            costs.setdefault(case, {})[number] = cost

    failed: set[Case] = set()
    while heat := next_heat(race, costs, failed):
        number = len(race.heats)
        failed |= {case for case in heat.cases if seconds is not None and case not in seconds}
        hold(number, tuple(case for case in heat.cases if case not in failed))
        took_s = sum(START_S if seconds is None else seconds.get(case, 0.0) for case in heat.cases)
        done = Heat(number, heat.stage, heat.cases, took_s)
        race = msgspec.structs.replace(race, heats=(*race.heats, done), spent_s=race.spent_s + took_s)
    found = raced(race, costs)
    choice = recommended(found, costs, race.default)
    chosen_by = from_logs(differences(costs, race.default, choice))
    fresh = {race.default: dict[int, float](), choice: dict[int, float]()}
    for number in range(again):
        for case, cost in draw(generator, (race.default, choice)).items():
            fresh[case][number] = cost
    return Finish(race, costs, found, choice, chosen_by, from_logs(differences(fresh, race.default, choice)))
