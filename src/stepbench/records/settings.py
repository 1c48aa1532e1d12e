"""Knobs of the runtime around a step: their names, what they may be, and how they stand in a case's id. Pure values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from stepbench.errors import StepbenchError

DEFAULT = "default"
"""Of every setting: what this process's own environment makes it."""
ENVIRONMENT = "env:"
"""Before the name of an environment variable."""
LONGEST_VALUE = 1000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_UNQUOTED = "!\"#$&'()*+-.:;<=>?@[\\]^_`{|}~"
"""All punctuation that stands for itself in an id."""


@dataclass(frozen=True)
class Knob:
    """What a setting may be."""

    about: str
    values: tuple[str, ...] = ()
    """Beside the default."""
    usual: str | None = None
    """The value that the default is, unless the environment says otherwise."""
    takes_number: bool = False
    needs_gpu: bool = False

    def takes(self, value: str) -> bool:
        """Whether it can be set to that."""
        return value in (DEFAULT, self.usual, *self.values) or (self.takes_number and bool(_NUMBER.fullmatch(value)))

    @property
    def choices(self) -> str:
        """What it can be set to, for people."""
        return ", ".join([*filter(None, (DEFAULT, self.usual, *self.values)), *["a number"] * self.takes_number])


INTRA_THREADS = "intra_threads"
INTER_THREADS = "inter_threads"
PROCESSORS = "processors"
ONEDNN = "onednn"
AUTOCLUSTER = "autocluster"
TF32 = "tf32"
MALLOC = "malloc"
GPU_THREADS = "gpu_threads"
GPU_ALLOCATOR = "gpu_allocator"

ON, OFF = "on", "off"
ALL, SOCKET, CORES = "all", "socket", "cores"

CATALOGUE = {
    INTRA_THREADS: Knob("threads that share one operation", takes_number=True),
    INTER_THREADS: Knob("operations that run side by side", takes_number=True),
    PROCESSORS: Knob(
        "all, those of one socket, one thread of each core, or the first so many",
        (SOCKET, CORES),
        usual=ALL,
        takes_number=True,
    ),
    ONEDNN: Knob("kernels of oneDNN", (OFF,), usual=ON),
    AUTOCLUSTER: Knob("XLA compiles what it can of a graph by itself", (ON,), usual=OFF),
    TF32: Knob("float32 products rounded to TensorFloat-32", (OFF,), usual=ON, needs_gpu=True),
    MALLOC: Knob("the allocator of main memory", ("tcmalloc", "jemalloc")),
    GPU_THREADS: Knob("threads that launch kernels", ("gpu_private", "gpu_shared"), usual="global", needs_gpu=True),
    GPU_ALLOCATOR: Knob("the allocator of the GPU's memory", ("cuda_malloc_async",), usual="bfc", needs_gpu=True),
}
"""The settings that are known by a name of their own; the others are environment variables."""


class Setting(msgspec.Struct, frozen=True, order=True):
    """One knob of the runtime, set to something else than its default.

    Raises:
        StepbenchError: when there is no such setting, or it cannot be that.
    """

    name: str
    value: str

    def __post_init__(self) -> None:
        if self.name.startswith(ENVIRONMENT):
            _check_variable(self.name.removeprefix(ENVIRONMENT), self.value)
            return
        knob = CATALOGUE.get(self.name)
        if knob is None:
            known = ", ".join(CATALOGUE)
            raise StepbenchError(f"There is no setting {self.name[:80]!r}: use {known}, or env:NAME for a variable.")
        if not knob.takes(self.value):
            raise StepbenchError(f"The setting {self.name} cannot be {self.value[:80]!r}: use {knob.choices}.")

    @property
    def knob(self) -> Knob:
        """What it may be."""
        return CATALOGUE.get(self.name, Knob("an environment variable"))

    @property
    def is_default(self) -> bool:
        """Whether it changes nothing, unless the environment does: then it stands in no case's id."""
        return self.value in (DEFAULT, self.knob.usual)

    def __str__(self) -> str:
        """As in a case's id; what would be taken for the end of a part is percent-encoded."""
        return f"{self.name}={quote(self.value, safe=_UNQUOTED)}"


def _check_variable(name: str, value: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise StepbenchError(f"{name[:80]!r} cannot be the name of an environment variable, as in env:NAME=A,B.")
    if not value.isprintable() or len(value) > LONGEST_VALUE:
        raise StepbenchError(f"The variable {name} cannot be {value[:80]!r}: use up to {LONGEST_VALUE} characters.")


def suffix(steps_per_call: int, settings: Iterable[Setting] = ()) -> str:
    """The end of a case's id: ``/k<steps per call>`` above one, and ``/<setting>=<value>`` for each, by name."""
    calls = f"/k{steps_per_call}" if steps_per_call > 1 else ""
    return calls + "".join(f"/{setting}" for setting in sorted(settings))
