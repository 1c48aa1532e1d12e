"""What it takes on this machine to have a setting: variables before TensorFlow is imported, processors, libraries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stepbench.errors import StepbenchError
from stepbench.probes.hardware import ROOT, read_fact
from stepbench.records.cases import Device
from stepbench.records.protocol import WORKER_ENVIRONMENT
from stepbench.records.settings import (
    AUTOCLUSTER,
    CATALOGUE,
    CORES,
    ENVIRONMENT,
    GPU_ALLOCATOR,
    GPU_THREADS,
    INTER_THREADS,
    INTRA_THREADS,
    MALLOC,
    ONEDNN,
    PROCESSORS,
    SOCKET,
    Setting,
)

VARIABLES = {
    INTRA_THREADS: "TF_NUM_INTRAOP_THREADS",
    INTER_THREADS: "TF_NUM_INTEROP_THREADS",
    ONEDNN: "TF_ENABLE_ONEDNN_OPTS",
    AUTOCLUSTER: "TF_XLA_FLAGS",
    MALLOC: "LD_PRELOAD",
    GPU_THREADS: "TF_GPU_THREAD_MODE",
    GPU_ALLOCATOR: "TF_GPU_ALLOCATOR",
}
"""That TensorFlow, or the loader, reads a setting from."""
RESERVED = {*WORKER_ENVIRONMENT, "TMPDIR", "PYTHONPATH", "TF_CONFIG"}
"""Variables that workers cannot do without as they are."""
CLUSTERING = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"
_LIBRARIES = {
    "tcmalloc": re.compile(r"libtcmalloc(_minimal)?\.so(\.\d+)*"),
    "jemalloc": re.compile(r"libjemalloc\.so(\.\d+)*"),
}
_FOLDERS = ("usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64", "opt/lib", "lib", "lib64")


@dataclass(frozen=True)
class Effect:
    """What a worker's process is started with, so that it has its settings."""

    environment: Mapping[str, str] = field(default_factory=dict)
    processors: frozenset[int] | None = None
    """On which it may run; on all of its parent's if None."""


def effect_of(settings: Iterable[Setting]) -> Effect:
    """What it takes to have these settings; that of TensorFloat-32 is made inside of TensorFlow.

    Raises:
        StepbenchError: when this machine does not have what one needs.
    """
    environment: dict[str, str] = {}
    processors = None
    for setting in settings:
        if setting.name == PROCESSORS:
            processors = processors_of(setting.value)
        elif setting.name.startswith(ENVIRONMENT):
            environment[setting.name.removeprefix(ENVIRONMENT)] = setting.value
        elif setting.name in VARIABLES:
            environment[VARIABLES[setting.name]] = _text(setting)
    return Effect(environment, processors)


def check_settings(settings: Iterable[Setting], devices: Iterable[Device]) -> None:
    """Refuse values that this machine does not have.

    Raises:
        StepbenchError: when there is one.
    """
    devices = tuple(devices)
    named: dict[str, str] = {}
    for setting in settings:
        if setting.knob.needs_gpu and Device.GPU not in devices:
            raise StepbenchError(f"The setting {setting.name} is one of GPUs: use it with --device gpu.")
        _check_usual(setting)
        for variable in effect_of([] if setting.is_default else [setting]).environment:
            if variable in RESERVED:
                raise StepbenchError(f"The variable {variable} is set by stepbench itself: leave it out.")
            if named.setdefault(variable, setting.name) != setting.name:
                raise StepbenchError(f"{named[variable]} and {setting.name} both set {variable}: use one of them.")


def _check_usual(setting: Setting) -> None:
    variable = VARIABLES.get(setting.name)
    if setting.value == setting.knob.usual and variable and os.environ.get(variable):
        raise StepbenchError(
            f"{variable} is {os.environ[variable][:80]!r} in the environment, which {setting} contradicts: unset it."
        )


def _text(setting: Setting) -> str:
    """The value of a setting's variable."""
    if setting.name == MALLOC:
        return " ".join(filter(None, (str(library_of(setting.value)), os.environ.get("LD_PRELOAD"))))
    if setting.name == AUTOCLUSTER:
        return " ".join(filter(None, (os.environ.get("TF_XLA_FLAGS"), CLUSTERING)))
    return "0" if setting.name == ONEDNN else setting.value  # It is on unless it is told otherwise.


def library_of(allocator: str, root: Path = ROOT) -> Path:
    """The library of an allocator.

    Raises:
        StepbenchError: when it is not installed.
    """
    found = _found(allocator, root)
    if found is None:
        package = _PACKAGES[allocator]
        raise StepbenchError(f"There is no {allocator} here: install it (Debian's {package}), or leave it out.")

    return found


_PACKAGES = {"tcmalloc": "libtcmalloc-minimal4", "jemalloc": "libjemalloc2"}


def is_library_of(allocator: str, file: str) -> bool:
    """Whether a file, by its name, is an allocator's library."""
    return bool(_LIBRARIES[allocator].fullmatch(Path(file).name))


def _found(allocator: str, root: Path) -> Path | None:
    pattern = _LIBRARIES[allocator]
    for folder in _FOLDERS:
        for place in (root / folder, *sorted((root / folder).glob("*-linux-gnu*"))):
            if names := sorted(path for path in place.glob("lib*malloc*.so*") if pattern.fullmatch(path.name)):
                return names[0]
    return None


def processors_of(value: str, root: Path = ROOT, usable: Iterable[int] | None = None) -> frozenset[int]:
    """The processors that a value of ``processors`` means, of those that this process may use.

    Raises:
        StepbenchError: when it means all of them, or more than there are.
    """
    mine = sorted(os.sched_getaffinity(0) if usable is None else usable)
    if value in (SOCKET, CORES):
        chosen = _one_socket(mine, root) if value == SOCKET else _one_thread_each(mine, root)
    else:
        chosen = frozenset(mine[: int(value)]) if int(value) <= len(mine) else frozenset()
    if not chosen:
        raise StepbenchError(f"There are {len(mine)} processors to be used here, so processors cannot be {value}.")
    if len(chosen) == len(mine) and value in (SOCKET, CORES):
        raise StepbenchError(f"Here processors={value} are all {len(mine)} that there are: leave it out.")
    return chosen


def spread_of(value: str, processors: Iterable[int], root: Path = ROOT) -> str:
    """The value of ``processors`` that a process on those of them has: the one given if that is true, else a number."""
    mine = sorted(processors)
    chosen = {SOCKET: _one_socket, CORES: _one_thread_each}
    return value if value in chosen and chosen[value](mine, root) == frozenset(mine) else str(len(mine))


def _one_socket(processors: list[int], root: Path) -> frozenset[int]:
    sockets = {one: _topology(one, "physical_package_id", root) for one in processors}
    return frozenset(one for one in processors if sockets[one] == sockets[processors[0]])


def _one_thread_each(processors: list[int], root: Path) -> frozenset[int]:
    cores: dict[str, int] = {}
    for one in processors:
        cores.setdefault(_topology(one, "thread_siblings_list", root), one)
    return frozenset(cores.values())


def _topology(processor: int, what: str, root: Path) -> str:
    """A fact of the kernel's; where it has none, each processor is a core, and all are of one socket."""
    usual = str(processor) if what == "thread_siblings_list" else "0"
    return read_fact(root, f"sys/devices/system/cpu/cpu{processor}/topology/{what}") or usual


def available_values(name: str) -> tuple[str, ...]:
    """The named values of a setting that this machine has, beside its default."""
    return tuple(value for value in CATALOGUE[name].values if _is_available(Setting(name, value)))


def _is_available(setting: Setting) -> bool:
    try:
        effect_of([setting])
    except StepbenchError:
        return False
    return True
