"""The machine that a run was measured on, and whether two runs' numbers may be compared. Pure data.

A fact that could not be read is ``None`` (or empty), never a guess.
"""

from __future__ import annotations

import hashlib

import msgspec

GIB = 2**30
ONEDNN_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
FINGERPRINT_LENGTH = 12
_ONEDNN_VALUES = {"0": False, "false": False, "1": True, "true": True}
_UNKNOWN = "unknown"
_ABSENT = "absent"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The computer and its operating system."""

    hostname: str | None = None
    system: str | None = None
    """The kernel's name, e.g. ``Linux``."""
    distribution: str | None = None
    kernel: str | None = None
    """The kernel's release."""
    architecture: str | None = None
    """E.g. ``x86_64``."""
    product: str | None = None
    """What the firmware calls the computer; on a cloud this is the instance type."""
    hypervisor: bool | None = None
    """Whether the CPU says that it is virtual; ``None`` where CPUs do not say."""
    container: str | None = None
    """E.g. ``docker``; ``None`` when nothing hints at a container."""


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """The first processor, taken to stand for all, and how many there are."""

    model: str | None = None
    vendor: str | None = None
    family: int | None = None
    model_number: int | None = None
    stepping: int | None = None
    logical_cores: int | None = None
    physical_cores: int | None = None
    usable_cores: float | None = None
    """What affinity and cgroup quotas leave of the logical cores; a quota may be a fraction."""
    quota_cores: float | None = None
    """What cgroup quotas grant, the tightest of them; ``None`` without one. TensorFlow does not look at them."""
    features: tuple[str, ...] = ()
    """Those of ``measuring.hardware.CPU_FEATURES`` that it has, in that order."""
    governor: str | None = None
    turbo: bool | None = None
    max_mhz: float | None = None
    smt: bool | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory, in bytes."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    """At the start of the run."""
    limit_bytes: int | None = None
    """The tightest cgroup limit; ``None`` when there is none."""
    swap_bytes: int | None = None
    transparent_hugepages: str | None = None
    """``always``, ``madvise`` or ``never``."""


class Software(msgspec.Struct, frozen=True, kw_only=True):
    """The interpreter and the installed distributions that matter."""

    python: str | None = None
    packages: dict[str, str] = {}
    """Version by distribution name; holds only what is installed."""


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """The git checkout that the user stood in."""

    commit: str | None = None
    """The full hash; ``None`` before the first commit."""
    branch: str | None = None
    """``None`` when the head is detached."""
    dirty: bool | None = None
    """Whether tracked files were changed, as ``git describe --dirty`` counts; ``None`` when git took too long."""
    lock: str | None = None
    """The SHA-256 of the lock file in its root and the file's name, as ``sha256sum`` prints them."""

    def __str__(self) -> str:
        commit = self.commit[:12] if self.commit else "no commit"
        return f"{commit}-dirty" if self.dirty else commit


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA GPU. Clocks, power, temperature and reasons are those of the run's start."""

    name: str | None = None
    uuid: str | None = None
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA version that the driver supports, e.g. ``13.0``."""
    compute_capability: tuple[int, int] | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    power_limit_w: float | None = None
    power_draw_w: float | None = None
    temperature_c: int | None = None
    persistence: bool | None = None
    mig: bool | None = None
    ecc: bool | None = None
    clock_limits: tuple[str, ...] | None = None
    """Why the clocks are below their maximum, e.g. ``hw_thermal_slowdown``; ``gpu_idle`` is harmless."""
    pcie_generation: int | None = None
    pcie_width: int | None = None
    other_processes: int | None = None
    """Computing processes that are not this one."""


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """What disturbed an interval. Shares are of the time of all CPUs, from 0 to 1.

    The kernel counts in ticks of mostly 10 ms, which is long against a block: with two CPUs and 150 ms, one stolen tick
    is a share of 0.03. Trust a share over many blocks, not over one.
    """

    steal_share: float | None = None
    """Time that the hypervisor gave to others."""
    iowait_share: float | None = None
    """Time that CPUs idled while a disk was awaited."""
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    """How often the kernel took a CPU away from one of the process's threads."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes two runs comparable or not."""

    host: Host = Host()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    software: Software = Software()
    load_average: tuple[float, float, float] | None = None
    """Over 1, 5 and 15 minutes before the run."""
    variables: dict[str, str] = {}
    """Environment variables that change kernels or speed; never a secret."""
    repository: Repository | None = None
    gpus: tuple[Gpu, ...] = ()
    forks: bool = False
    """Whether workers are forked from a process that has imported TensorFlow, not started each."""

    @property
    def onednn(self) -> bool | None:
        """What ``TF_ENABLE_ONEDNN_OPTS`` asks for; ``None`` leaves it to TensorFlow, which looks at the CPU."""
        return _ONEDNN_VALUES.get(self.variables.get(ONEDNN_VARIABLE, "").lower())

    @property
    def fingerprint(self) -> str:
        """Equal for two environments whose absolute numbers may be compared; stable across releases of Python."""
        return hashlib.sha256(msgspec.json.encode(_identity(self))).hexdigest()[:FINGERPRINT_LENGTH]

    def is_same_machine(self, other: Environment) -> bool:
        """Whether it is this machine and software, however workers come about."""
        return self.fingerprint == msgspec.structs.replace(other, forks=self.forks).fingerprint


def differences(a: Environment, b: Environment) -> tuple[str, ...]:
    """Each fact that decides or shifts speed and is not the same, as ``<what>: <in a> vs <in b>``.

    Empty only when the fingerprints are equal too. What changes from minute to minute (load, temperature, free
    memory) and the commit, which is often the very thing compared, are left out.
    """
    left, right = _facts(a), _facts(b)
    names = tuple(dict.fromkeys((*left, *right)))
    pairs = ((name, left.get(name, _ABSENT), right.get(name, _ABSENT)) for name in names)
    return tuple(f"{name}: {mine} vs {other}" for name, mine, other in pairs if mine != other)


def _facts(environment: Environment) -> dict[str, str]:
    return (
        _identity(environment)
        | _settings(environment)
        | _gpu_settings(environment.gpus)
        | _packages(environment.software)
        | _variables(environment)
    )


def _identity(environment: Environment) -> dict[str, str]:
    """What the fingerprint covers. Changing a word here makes every stored fingerprint a stranger."""
    host, cpu = environment.host, environment.cpu
    # What was written before workers were forked has to keep its fingerprint.
    workers = {"workers": "forked"} if environment.forks else {}
    return workers | {
        # Clouds hide the model's name ("AMD EPYC"); family and model number tell generations apart.
        "CPU": f"{_text(cpu.model)} (family {_text(cpu.family)}, model {_text(cpu.model_number)})",
        "cores": f"{_text(cpu.logical_cores)} logical, {_text(cpu.physical_cores)} physical",
        "usable cores": _text(cpu.usable_cores),
        "CPU features": ", ".join(cpu.features) or "none known",
        "memory": _gib(environment.memory.total_bytes),
        "GPUs": ", ".join(_text(gpu.name) for gpu in environment.gpus) or "none",
        "operating system": f"{_text(host.system)} on {_text(host.architecture)}",
        "TensorFlow": environment.software.packages.get("tensorflow", _ABSENT),
        "oneDNN": "TensorFlow's choice" if environment.onednn is None else _text(environment.onednn),
    }


def _settings(environment: Environment) -> dict[str, str]:
    host, cpu, memory = environment.host, environment.cpu, environment.memory
    return {
        "computer": _text(host.product),
        "distribution": _text(host.distribution),
        "kernel": _text(host.kernel),
        "virtual machine": _text(host.hypervisor),
        "container": host.container or "none",
        "frequency governor": _text(cpu.governor),
        "turbo": _text(cpu.turbo),
        "highest frequency": _unit(cpu.max_mhz, "MHz"),
        "SMT": _text(cpu.smt),
        "memory limit": "none" if memory.limit_bytes is None else _gib(memory.limit_bytes),
        "transparent hugepages": _text(memory.transparent_hugepages),
        "Python": _text(environment.software.python),
        "workers": "forked" if environment.forks else "started",
    }


def _gpu_settings(gpus: tuple[Gpu, ...]) -> dict[str, str]:
    if not gpus:
        return {}
    return {
        "GPU drivers": ", ".join(_text(gpu.driver) for gpu in gpus),
        "GPU settings": "; ".join(
            f"power limit {_unit(gpu.power_limit_w, 'W')}, highest SM clock {_unit(gpu.sm_clock_max_mhz, 'MHz')}, "
            f"MIG {_text(gpu.mig)}, ECC {_text(gpu.ecc)}"
            for gpu in gpus
        ),
    }


def _packages(software: Software) -> dict[str, str]:
    """Those that compute or measure; a newer TensorBoard changes no number."""
    matters = {"keras", "numpy", "stepbench"}
    return {
        name: version
        for name, version in software.packages.items()
        if name in matters or (name.startswith("nvidia-") and name != "nvidia-ml-py")
    }


def _variables(environment: Environment) -> dict[str, str]:
    """Those that may change speed: how much TensorFlow logs does not, and oneDNN is told in words."""
    silent = {"TF_CPP_MIN_LOG_LEVEL", ONEDNN_VARIABLE}
    return {name: repr(value) for name, value in environment.variables.items() if name not in silent}


def _text(value: str | float | bool | None) -> str:  # noqa: FBT001 - a fact to print, not a switch.
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:g}"


def _unit(value: float | None, unit: str) -> str:
    return _UNKNOWN if value is None else f"{value:.0f} {unit}"


def _gib(value: int | None) -> str:
    """Whole GiB: what the firmware and the kernel reserve varies by megabytes."""
    return _UNKNOWN if value is None else f"{value / GIB:.0f} GiB"
