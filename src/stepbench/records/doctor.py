"""What was found out about a machine before anything is measured on it. Pure data.

As in :mod:`stepbench.records.machine`, a fact that could not be read is ``None`` (or empty), never a guess.
"""

from __future__ import annotations

import msgspec

from stepbench.records.machine import Environment


class BusyProcess(msgspec.Struct, frozen=True):
    """A process that used processor time while it was looked."""

    pid: int
    name: str
    cores: float
    """Processors' worth of time."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What else the processors did that this process may use."""

    cores: int
    """Processors that this process may use."""
    others_cores: float | None = None
    """Processors' worth of time that others used, the kernel among them, while this process slept."""
    busiest: tuple[BusyProcess, ...] = ()
    """Of the others, those that used most; none that used next to nothing."""
    steal_share: float | None = None
    """Share of all processors' time that the hypervisor gave to others while a worker started."""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The file system that results go to."""

    folder: str
    """As the user named it."""
    free_bytes: int | None = None
    free_files: int | None = None
    """How many more it can hold; ``None`` also where there is no such limit."""
    problem: str | None = None
    """Why nothing can be written there."""


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--data auto`` means here."""

    name: str | None = None
    """``cifar10`` or ``synthetic``."""
    folder: str | None = None
    problem: str | None = None
    """Why it means nothing."""


class NvidiaDriver(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of NVIDIA beneath TensorFlow, whether or not it works."""

    boards: int = 0
    """NVIDIA's graphics processors on the PCI bus."""
    version: str | None = None
    """Of the kernel module that is loaded."""
    nvml_problem: str | None = None
    """Why the driver's library does not answer; ``None`` when it does."""
    restricts_profiling: bool | None = None
    """Whether performance counters are for administrators."""
    administrator: bool | None = None
    """Whether this process has ``CAP_SYS_ADMIN``."""


class Misfit(msgspec.Struct, frozen=True):
    """A requirement of an installed distribution that is not met."""

    distribution: str
    """The one that requires, with its version."""
    requirement: str
    """In pip's words, such as ``xprof==2.24.2``."""
    found: str | None
    """The version that is installed; ``None`` when none is."""


class TensorFlowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What only a process that has loaded TensorFlow can tell."""

    gpus: int
    """That TensorFlow can use."""
    cuda: str | None
    """The CUDA version that it was built with; ``None`` for a build without."""
    cudnn: str | None
    gpu_code: tuple[str, ...]
    """What its GPU kernels were compiled for: ``sm_80`` is machine code, ``compute_90`` is that and also what drivers
    compile for later GPUs."""
    onednn: bool
    intra_op_threads: int | None
    """Threads that share the work of one operation, counted while they were there."""
    inter_op_threads: int | None
    """Threads that run operations side by side, counted likewise."""
    compiles_graphs: bool
    """Whether XLA was seen to compile a plain graph on the CPU, unasked."""
    missing_libraries: tuple[str, ...]
    """Shared libraries that TensorFlow looked for and did not find."""


class DoctorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the doctor judges."""

    environment: Environment
    load: Load
    memory_left_bytes: int | None
    """For workers, before they are ended to spare the machine."""
    disk: Disk
    data: Data
    driver: NvidiaDriver
    misfits: tuple[Misfit, ...] = ()
    tensorflow: TensorFlowFacts | None = None
    """``None`` when it did not load."""
    tensorflow_failure: str | None = None
    """Why it did not."""
