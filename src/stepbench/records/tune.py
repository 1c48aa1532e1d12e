"""A race for the fastest way to run a step: what was looked for, in which heats, and what came of it. Pure values."""

from __future__ import annotations

import msgspec

from stepbench.errors import StepbenchError
from stepbench.records.bounds import Count, Positive, Seconds
from stepbench.records.cases import Case, Precision, Variant
from stepbench.records.settings import DEFAULT, Setting

SCHEMA = 1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate has other than the one that it comes from; None where that stays."""

    execution: str | None = None
    precision: Precision | None = None
    steps_per_call: Positive | None = None
    batch_size: Positive | None = None
    settings: tuple[Setting, ...] = ()
    """A default takes away what is there."""

    def applied(self, case: Case) -> Case | None:
        """The changed case; None where there is none such, as of several eager steps in one call."""
        settings = {setting.name: setting for setting in (*case.settings, *self.settings)}
        variant = Variant(self.execution or case.variant.execution, self.precision or case.variant.precision)
        try:
            return Case(
                case.workload,
                variant,
                case.device,
                self.batch_size or case.batch_size,
                self.steps_per_call or case.steps_per_call,
                tuple(sorted(setting for setting in settings.values() if not setting.is_default)),
            )
        except StepbenchError:
            return None

    def undone(self, case: Case, default: Case) -> Case | None:
        """The case with what this changes as the default has it."""
        mine = {setting.name for setting in self.settings}
        usual = {setting.name: setting for setting in default.settings}
        back = Change(
            execution=self.execution and default.variant.execution,
            precision=self.precision and default.variant.precision,
            steps_per_call=self.steps_per_call and default.steps_per_call,
            batch_size=self.batch_size and default.batch_size,
            settings=tuple(usual.get(name, Setting(name, DEFAULT)) for name in mine),
        )
        return back.applied(case)


class Stage(msgspec.Struct, frozen=True):
    """One factor, or several that are known to act together."""

    name: str
    changes: tuple[Change, ...]
    """Each is tried on all that is left of the stage before, which stays in the race too."""


class Heat(msgspec.Struct, frozen=True):
    """Candidates measured side by side, each in a fresh process."""

    number: Count
    """That of the replicate in the run's measurements."""
    stage: Count
    cases: tuple[Case, ...]
    seconds: Seconds


class Disqualified(msgspec.Struct, frozen=True):
    """A way of executing that is out, however fast."""

    variant: Variant
    why: str
    after_s: Seconds


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """A race, as far as it went; stored beside the run that holds its measurements."""

    schema: int = SCHEMA
    run_id: str
    default: Case
    """What the user has."""
    stages: tuple[Stage, ...]
    is_compiled: bool = False
    """Whether the default is what a model was compiled for."""
    budget_s: Seconds
    training_steps: Positive | None = None
    """Over which the first call counts; if None, it does not."""
    heats: tuple[Heat, ...] = ()
    disqualified: tuple[Disqualified, ...] = ()
    winner: Case | None = None
    """Once it is known, and the heats of ``again`` are of nothing but it and the default."""
    again: tuple[Heat, ...] = ()
    spent_s: Seconds = 0.0
    finished: bool = False
