"""Reads what the computer, its processors and its memory are, from ``/proc``, ``/sys`` and ``/etc``.

What cannot be read is ``None``. The parsers take a file's text, or ``None`` for a file that is not there.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from stepbench.records.machine import Cpu, Host, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CPU_FEATURES = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16", "svei8mm", "sme"),
)
"""What TensorFlow, Eigen, oneDNN and XLA choose kernels by, in the words of ``/proc/cpuinfo``."""

ROOT = Path("/")
_NO_LIMIT_BYTES = 2**60
"""Version 1 of cgroups writes "no limit" as a number above this one."""


def read_host(root: Path = ROOT) -> Host:
    """The computer and its operating system."""
    flags = _flags(parse_cpuinfo(read_fact(root, "proc/cpuinfo")))
    return Host(
        hostname=clean(platform.node()) or None,
        system=clean(platform.system()) or None,
        distribution=_distribution(),
        kernel=clean(platform.release()) or None,
        architecture=clean(platform.machine()) or None,
        product=_product(root),
        # Only x86 has this flag: elsewhere its absence says nothing.
        hypervisor="hypervisor" in flags if "fpu" in flags else None,
        container=_container(root, os.environ),
    )


def read_cpu(root: Path = ROOT) -> Cpu:
    """The processors, as the kernel and this process's limits present them."""
    info = parse_cpuinfo(read_fact(root, "proc/cpuinfo"))
    flags = _flags(info)
    quota = read_cpu_quota(root)
    return Cpu(
        model=_model(info),
        vendor=info.get("vendor_id") or info.get("CPU implementer"),
        family=_number(info.get("cpu family") or info.get("CPU architecture")),
        model_number=_number(info.get("model") or info.get("CPU part")),
        stepping=_number(info.get("stepping") or info.get("CPU revision")),
        logical_cores=os.cpu_count(),
        physical_cores=_physical_cores(root),
        usable_cores=_usable_cores(quota),
        quota_cores=quota,
        features=tuple(feature for feature in CPU_FEATURES if feature in flags),
        governor=read_fact(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        turbo=_turbo(root),
        max_mhz=_max_mhz(root),
        smt=_switch(read_fact(root, "sys/devices/system/cpu/smt/active")),
    )


def read_memory(root: Path = ROOT) -> Memory:
    """Main memory and what limits its use."""
    info = parse_meminfo(read_fact(root, "proc/meminfo"))
    return Memory(
        total_bytes=info.get("MemTotal"),
        available_bytes=info.get("MemAvailable"),
        limit_bytes=read_memory_limit(root),
        swap_bytes=info.get("SwapTotal"),
        transparent_hugepages=parse_choice(read_fact(root, "sys/kernel/mm/transparent_hugepage/enabled")),
    )


def read_cpu_quota(root: Path = ROOT) -> float | None:
    """How many CPUs' time the control groups grant, the tightest of them; ``None`` without a quota."""
    quotas = [parse_cpu_max(read_fact(folder, "cpu.max")) for folder in cgroups(root, "")]
    quotas += [
        parse_quota(read_fact(folder, "cpu.cfs_quota_us"), read_fact(folder, "cpu.cfs_period_us"))
        for folder in cgroups(root, "cpu")
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def read_memory_limit(root: Path = ROOT) -> int | None:
    """The bytes that the control groups grant, the tightest of them; ``None`` without a limit."""
    limits = [parse_memory_limit(read_fact(folder, "memory.max")) for folder in cgroups(root, "")]
    limits += [parse_memory_limit(read_fact(folder, "memory.limit_in_bytes")) for folder in cgroups(root, "memory")]
    return min((limit for limit in limits if limit is not None), default=None)


def parse_cpuinfo(text: str | None) -> dict[str, str]:
    """The fields of the first processor in ``/proc/cpuinfo``."""
    first = (text or "").strip().split("\n\n", 1)[0]
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, colon, value in fields if colon}


def parse_meminfo(text: str | None) -> dict[str, int]:
    """``/proc/meminfo`` in bytes."""
    fields = (line.partition(":") for line in (text or "").splitlines())
    numbers = ((name, value.split()) for name, _, value in fields)
    return {name: 1024 * int(words[0]) for name, words in numbers if words[1:] == ["kB"] and words[0].isdecimal()}


def parse_choice(text: str | None) -> str | None:
    """The chosen word of e.g. ``always [madvise] never``."""
    chosen = [word[1:-1] for word in (text or "").split() if word.startswith("[") and word.endswith("]")]
    return chosen[0] if chosen else None


def parse_cgroups(text: str | None) -> dict[str, str]:
    """This process's group by controller, from ``/proc/self/cgroup``; version 2 has the controller ``""``."""
    lines = (line.split(":", 2) for line in (text or "").splitlines())
    fields = (line for line in lines if len(line) == len(("id", "controllers", "path")))
    return {controller: path for _, controllers, path in fields for controller in controllers.split(",")}


def parse_cpu_max(text: str | None) -> float | None:
    """CPUs' worth of time in version 2's ``cpu.max``; ``None`` for ``max``."""
    quota, _, period = (text or "").partition(" ")
    return parse_quota(quota, period)


def parse_quota(quota: str | None, period: str | None) -> float | None:
    """CPUs' worth of time from version 1's two files (microseconds); ``None`` for -1, no quota."""
    granted, each = _number(quota), _number(period)
    return granted / each if granted and each and granted > 0 and each > 0 else None


def parse_memory_limit(text: str | None) -> int | None:
    """Bytes of ``memory.max`` or ``memory.limit_in_bytes``; ``None`` when they say that there is no limit."""
    limit = _number(text)
    return limit if limit is not None and 0 < limit < _NO_LIMIT_BYTES else None


def read_fact(root: Path, path: str) -> str | None:
    """A small file without the space around it; ``None`` when it cannot be read or is empty."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and those around it: a limit on any of them binds."""
    path = parse_cgroups(read_fact(root, "proc/self/cgroup")).get(controller)
    if path is None:
        return
    mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified") if controller == "" else (f"sys/fs/cgroup/{controller}",)
    # Inside a container the path may name groups that cannot be seen: what is mounted is then the own group.
    parts = path.strip("/").split("/")
    for mount in mounts:
        for depth in range(len(parts) + 1):
            yield root.joinpath(mount, *parts[:depth])


def clean(text: str) -> str:
    """Without the surrogates that Python makes of bytes that are not UTF-8, which JSON cannot hold."""
    return os.fsencode(text).decode("utf-8", errors="replace")


def _number(text: str | None) -> int | None:
    """Also of hexadecimal, as ARM kernels write."""
    try:
        return int(text or "", 0)
    except ValueError:
        return None


def _switch(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _flags(info: Mapping[str, str]) -> frozenset[str]:
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def _model(info: Mapping[str, str]) -> str | None:
    """ARM kernels give numbers only."""
    if "model name" in info:
        return info["model name"]
    return f"implementer {info['CPU implementer']} part {info.get('CPU part')}" if "CPU implementer" in info else None


def _distribution() -> str | None:
    """The operating system's name for people."""
    try:
        return clean(platform.freedesktop_os_release()["PRETTY_NAME"]) or None
    except (OSError, ValueError):
        return None


def _product(root: Path) -> str | None:
    folder = root / "sys/class/dmi/id"
    return " ".join(filter(None, (read_fact(folder, "sys_vendor"), read_fact(folder, "product_name")))) or None


def _container(root: Path, variables: Mapping[str, str]) -> str | None:
    if "KUBERNETES_SERVICE_HOST" in variables:
        return "kubernetes"
    for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if os.access(root / path, os.F_OK):
            return name
    return clean(variables.get("container", "")) or None


def _physical_cores(root: Path) -> int | None:
    """Threads of one core share their list of siblings."""
    cores = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")
    return len({siblings for core in cores if (siblings := read_fact(core.parent, core.name))}) or None


def _usable_cores(quota: float | None) -> float | None:
    return min((float(limit) for limit in (len(usable_processors()), quota) if limit), default=None)


def usable_processors() -> set[int]:
    """The numbers of the processors that this process may use; all of them on macOS, which has no affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 0))


def _turbo(root: Path) -> bool | None:
    folder = root / "sys/devices/system/cpu"
    forbidden = _switch(read_fact(folder, "intel_pstate/no_turbo"))
    return _switch(read_fact(folder, "cpufreq/boost")) if forbidden is None else not forbidden


def _max_mhz(root: Path) -> float | None:
    kilohertz = _number(read_fact(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))
    return None if kilohertz is None else kilohertz / 1000
