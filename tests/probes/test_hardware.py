from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbench.probes.hardware import (
    parse_cgroups,
    parse_choice,
    parse_cpu_max,
    parse_cpuinfo,
    parse_meminfo,
    parse_memory_limit,
    parse_quota,
    read_cpu,
    read_cpu_quota,
    read_host,
    read_memory,
    read_memory_limit,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AMD = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse2 fma f16c hypervisor avx2 avx512f avx_vnni avx512_bf16 avx512_vnni
power management:

processor\t: 1
model name\t: not the first
"""
INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping\t: 8
flags\t\t: fpu avx2 fma avx512f avx512_fp16 amx_bf16 amx_tile amx_int8
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""
UNLIMITED_V1 = "9223372036854771712\n"


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file below a root of our own and gives that root."""

    def write(path: str, text: str) -> Path:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "name", "numbers", "features"),
    [
        (AMD, ("AMD EPYC", "AuthenticAMD"), (26, 2, 1), "avx2 fma f16c avx512f avx512_vnni avx512_bf16 avx_vnni"),
        (
            INTEL,
            ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "GenuineIntel"),
            (6, 143, 8),
            "avx2 fma avx512f avx512_fp16 amx_tile amx_int8 amx_bf16",
        ),
        # It has numbers for names.
        (ARM, ("implementer 0x41 part 0xd40", "0x41"), (8, 0xD40, 1), "asimd asimdhp asimddp bf16 i8mm sve"),
    ],
    ids=["AMD", "Intel", "ARM"],
)
def test_a_processor_is_known_by_its_name_its_numbers_and_its_features(
    plant: Callable[[str, str], Path], text: str, name: tuple[str, str], numbers: tuple[int, ...], features: str
) -> None:
    cpu = read_cpu(plant("proc/cpuinfo", text))
    assert (cpu.model, cpu.vendor) == name
    assert (cpu.family, cpu.model_number, cpu.stepping) == numbers
    assert " ".join(cpu.features) == features


@pytest.mark.parametrize(("text", "virtual"), [(AMD, True), (INTEL, False), (ARM, None)])
def test_x86_alone_tells_whether_it_is_virtual(
    plant: Callable[[str, str], Path], text: str, *, virtual: bool | None
) -> None:
    assert read_host(plant("proc/cpuinfo", text)).hypervisor is virtual


@pytest.mark.parametrize(
    ("path", "text", "turbo"),
    [
        ("intel_pstate/no_turbo", "0\n", True),
        ("intel_pstate/no_turbo", "1\n", False),
        ("cpufreq/boost", "1\n", True),
        ("cpufreq/boost", "0\n", False),
        ("cpufreq/boost", "maybe\n", None),
    ],
)
def test_turbo(plant: Callable[[str, str], Path], path: str, text: str, *, turbo: bool | None) -> None:
    assert read_cpu(plant(f"sys/devices/system/cpu/{path}", text)).turbo is turbo


def test_frequency_governor_and_smt(plant: Callable[[str, str], Path]) -> None:
    plant("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    plant("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3700000\n")
    cpu = read_cpu(plant("sys/devices/system/cpu/smt/active", "1\n"))
    assert (cpu.governor, cpu.max_mhz, cpu.smt) == ("powersave", 3700.0, True)


def test_threads_of_one_core_count_once(plant: Callable[[str, str], Path]) -> None:
    for thread, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        root = plant(f"sys/devices/system/cpu/cpu{thread}/topology/core_cpus_list", f"{siblings}\n")
    assert read_cpu(root).physical_cores == 2


def test_usable_cores_are_the_tighter_of_affinity_and_quota(
    plant: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    plant("proc/self/cgroup", "0::/\n")
    assert read_cpu(plant("sys/fs/cgroup/cpu.max", "max 100000\n")).usable_cores == 3.0
    assert read_cpu(plant("sys/fs/cgroup/cpu.max", "150000 100000\n")).usable_cores == 1.5
    assert read_cpu(plant("sys/fs/cgroup/cpu.max", "800000 100000\n")).usable_cores == 3.0


def test_the_product_names_the_instance(plant: Callable[[str, str], Path]) -> None:
    plant("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
    assert read_host(plant("sys/class/dmi/id/product_name", "m7a.large\n")).product == "Amazon EC2 m7a.large"


@pytest.mark.parametrize(("path", "name"), [(".dockerenv", "docker"), ("run/.containerenv", "podman")])
def test_containers_leave_a_file(
    plant: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert read_host(plant(path, "")).container == name


def test_containers_may_be_told_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("container", raising=False)
    assert read_host(tmp_path).container is None
    monkeypatch.setenv("container", "systemd-nspawn")
    assert read_host(tmp_path).container == "systemd-nspawn"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert read_host(tmp_path).container == "kubernetes"


def test_memory(plant: Callable[[str, str], Path]) -> None:
    plant("proc/meminfo", "MemTotal:  2048 kB\nMemAvailable: 1024 kB\nSwapTotal: 0 kB\nHugePages_Total: 7\nBad: x kB\n")
    memory = read_memory(plant("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"))
    assert (memory.total_bytes, memory.available_bytes, memory.swap_bytes) == (2**21, 2**20, 0)
    assert memory.limit_bytes is None
    assert memory.transparent_hugepages == "madvise"


def test_version_2_groups_bind_from_outside_too(plant: Callable[[str, str], Path]) -> None:
    plant("proc/self/cgroup", "0::/user/job\n")
    plant("sys/fs/cgroup/user/job/cpu.max", "max 100000\n")
    plant("sys/fs/cgroup/user/cpu.max", "200000 100000\n")
    plant("sys/fs/cgroup/user/job/memory.max", "4096\n")
    root = plant("sys/fs/cgroup/user/memory.max", "max\n")
    assert read_cpu_quota(root) == 2.0
    assert read_memory_limit(root) == 4096


def test_version_1_groups(plant: Callable[[str, str], Path]) -> None:
    plant("proc/self/cgroup", "5:cpu,cpuacct:/job\n4:memory:/job\n1:name=systemd:/\n")
    plant("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "50000\n")
    plant("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    plant("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8192\n")
    root = plant("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED_V1)
    assert read_cpu_quota(root) == 0.5
    assert read_memory_limit(root) == 8192


@pytest.mark.parametrize("path", ["/docker/0123", "/../../elsewhere"])
def test_a_container_sees_its_own_group_as_the_outermost(plant: Callable[[str, str], Path], path: str) -> None:
    plant("proc/self/cgroup", f"4:memory:{path}\n")
    assert read_memory_limit(plant("sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n")) == 8192


def test_what_is_no_limit_is_none() -> None:
    for text in ("max 100000", "max", "", None, "0 0", "5 x"):
        assert parse_cpu_max(text) is None, text
    for quota, period in (("-1", "100000"), (None, "100000"), ("1", "0"), ("1", "-1")):
        assert parse_quota(quota, period) is None, (quota, period)
    for text in ("max", UNLIMITED_V1.strip(), "-1", "", None, "4k"):
        assert parse_memory_limit(text) is None, text


def test_groups_by_controller() -> None:
    text = "5:cpu,cpuacct:/a:b\n0::/c\nmalformed\n"
    assert parse_cgroups(text) == {"cpu": "/a:b", "cpuacct": "/a:b", "": "/c"}


def test_the_distribution_is_what_people_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"PRETTY_NAME": "Debian GNU/Linux 12"})
    assert read_host().distribution == "Debian GNU/Linux 12"

    def missing() -> dict[str, str]:
        raise OSError("no such file")

    monkeypatch.setattr(platform, "freedesktop_os_release", missing)
    assert read_host().distribution is None


@pytest.mark.parametrize(("text", "choice"), [("[always] madvise never", "always"), ("never", None), ("[", None)])
def test_choice(text: str, choice: str | None) -> None:
    assert parse_choice(text) == choice


@pytest.mark.parametrize(
    "parse", [parse_cgroups, parse_choice, parse_cpu_max, parse_cpuinfo, parse_meminfo, parse_memory_limit]
)
@given(text=st.none() | st.text())
def test_no_text_makes_a_parser_raise(parse: Callable[[str | None], object], text: str | None) -> None:
    parse(text)
