"""What helps or spoils measurements in the computer itself. Each rule gives its findings on one subject."""

from __future__ import annotations

from collections.abc import Iterator

from stepbench.judge.finding import Finding, fine, hinders, lacks, size, spoils
from stepbench.records.cases import Precision
from stepbench.records.doctor import DoctorFacts
from stepbench.records.machine import GIB

NATIVE_FEATURES = {
    Precision.MIXED_BFLOAT16: {"avx512_bf16", "amx_bf16", "bf16"},
    Precision.MIXED_FLOAT16: {"avx512_fp16", "amx_fp16", "fphp", "asimdhp"},
}
"""CPU features of which one is needed to compute in a half precision without emulating it."""

BUSY_SPOILS = 0.5
"""Processors' worth of time of others. TensorFlow has a thread on every processor and waits for the slowest of them,
so that one busy processor counts, however many there are."""
BUSY_HINDERS = 0.1
STEAL_SPOILS = 0.10
STEAL_HINDERS = 0.02
"""Shares of lost processor time; the lower one is that from which on reports mention it."""
WORKER_BYTES = GIB
"""What a worker needs at most, TensorFlow and the case."""
WORKERS = 10
"""That are resident together at most."""
DISK_SPOILS_BYTES = 64 * 2**20
"""A run of nine cases with traces takes 20 MB."""
DISK_HINDERS_BYTES = GIB
FEWEST_FILES = 1000


def precisions(found: DoctorFacts) -> Iterator[Finding]:
    """Which precisions the processor computes in by itself."""
    cpu = found.environment.cpu
    if not cpu.features:
        return
    for precision, wanted in NATIVE_FEATURES.items():
        dtype = precision.compute_dtype
        if native := sorted(wanted.intersection(cpu.features)):
            yield fine("precisions", f"the CPU computes in {dtype} by itself ({', '.join(native)})")
        else:
            yield lacks(
                "precisions",
                f"the CPU emulates {dtype}, so that {precision} is slow on it",
                f"leave {precision} out on the CPU with --precision",
            )
    if found.environment.host.architecture == "x86_64" and not {"avx2", "fma"} <= set(cpu.features):
        yield hinders(
            "processor", "it lacks AVX2 or FMA, which TensorFlow's fast kernels use", "measure on a newer processor"
        )


def frequency(found: DoctorFacts) -> Iterator[Finding]:
    """Whether the clock stays where it is."""
    cpu = found.environment.cpu
    if cpu.governor not in (None, "performance"):
        yield hinders(
            "clock",
            f"the frequency governor {cpu.governor} changes the clock with the load",
            "sudo cpupower frequency-set --governor performance",
        )
    if cpu.turbo:
        yield hinders(
            "clock",
            "turbo is on: the clock depends on the temperature and on how many processors compute",
            "for steadier, slower numbers write 1 to /sys/devices/system/cpu/intel_pstate/no_turbo, "
            "or 0 to /sys/devices/system/cpu/cpufreq/boost",
        )
    if cpu.governor in (None, "performance") and not cpu.turbo:
        told = "the governor is performance" if cpu.governor else "the system shows no governor that could be set"
        yield fine("clock", told if cpu.turbo is None else f"{told}, turbo is off")


def processors(found: DoctorFacts) -> Iterator[Finding]:
    """Whether all processors may be used."""
    cpu, allowed = found.environment.cpu, found.load.cores
    if cpu.logical_cores and allowed < cpu.logical_cores:
        yield hinders(
            "processors",
            f"this process may use {allowed} of {cpu.logical_cores} (its affinity)",
            "start it without taskset or cpuset, if the whole machine is meant",
        )
    elif cpu.quota_cores is not None and cpu.quota_cores < allowed:
        yield hinders(
            "processors",
            f"a cgroup quota grants {cpu.quota_cores:g} of {allowed}, as time slices",
            "lift the quota (docker --cpus, Kubernetes limits), or give whole processors (docker --cpuset-cpus)",
        )
    else:
        yield fine("processors", f"all {allowed} may be used")


def others(found: DoctorFacts) -> Iterator[Finding]:
    """Whether other processes take processors away."""
    load, usable = found.load, found.environment.cpu.usable_cores
    if load.others_cores is None:
        return
    # What a quota leaves of the processors is free for others.
    spare = 0.0 if usable is None else load.cores - usable
    taken = max(0.0, load.others_cores - spare)
    who = ", ".join(f"{process.name} ({process.pid}) {process.cores:.2f}" for process in load.busiest)
    what = f"other processes use {load.others_cores:.2f} of {load.cores} processors{f': {who}' if who else ''}"
    if taken >= BUSY_SPOILS:
        yield spoils("load", what, "end them, or wait until they are done")
    elif taken >= BUSY_HINDERS:
        yield hinders("load", what, "end what can be spared")
    else:
        yield from _recently(found, what)


def _recently(found: DoctorFacts, now: str) -> Iterator[Finding]:
    average, cores = found.environment.load_average, found.environment.cpu.logical_cores
    if average and cores and average[0] >= cores:
        yield hinders(
            "load",
            f"over the last minute {average[0]:.1f} processes were ready to run or waited for a disk, on {cores} "
            "processors, though it is quiet now",
            "find out what runs in bursts, or wait a minute if it was you",
        )
    else:
        yield fine("load", now)


def steal(found: DoctorFacts) -> Iterator[Finding]:
    """Whether a hypervisor takes processors away."""
    share = found.load.steal_share
    if share is None:
        return
    what = f"the hypervisor took {share:.1%} of the processors' time while a worker started"
    remedy = "measure at another time, or on a machine whose processors are not shared"
    if share > STEAL_SPOILS:
        yield spoils("steal", what, remedy)
    elif share > STEAL_HINDERS:
        yield hinders("steal", what, remedy)
    else:
        yield fine("steal", what)


def memory(found: DoctorFacts) -> Iterator[Finding]:
    """Whether the workers have room."""
    if found.memory_left_bytes is None:
        return
    room = max(0, found.memory_left_bytes)
    what = f"{size(room)} are free for workers, each of which may need {size(WORKER_BYTES)}"
    if room < WORKER_BYTES:
        yield spoils("memory", what, "end what holds memory, or raise the container's limit")
    elif room < WORKERS * WORKER_BYTES:
        remedy = f"for more than {room // WORKER_BYTES} cases at a time, free some, or measure fewer together"
        yield hinders("memory", what, remedy)
    else:
        yield fine("memory", what)


def disk(found: DoctorFacts) -> Iterator[Finding]:
    """Whether results can be kept."""
    disk, remedy = found.disk, "free some space, or choose another folder with --results"
    if disk.problem:
        yield spoils("disk", f"runs cannot be kept in {disk.folder}: {disk.problem}", remedy)
        return
    free = disk.free_bytes
    if free is None:
        return
    what = f"{size(free)} are free in {disk.folder}, where runs are kept"
    if free < DISK_SPOILS_BYTES:
        yield spoils("disk", f"{what}: a run with traces may take more", remedy)
    elif disk.free_files is not None and disk.free_files < FEWEST_FILES:
        yield spoils("disk", f"only {disk.free_files} more files fit where {disk.folder} is", remedy)
    elif free < DISK_HINDERS_BYTES:
        yield hinders("disk", what, remedy)
    else:
        yield fine("disk", what)


def data(found: DoctorFacts) -> Iterator[Finding]:
    """Whether the real data is here."""
    data = found.data
    if data.problem:
        yield spoils("data", data.problem, "mend or unset STEPBENCH_DATA")
    elif data.folder:
        yield fine("data", f"{data.name} is in {data.folder}")
    else:
        yield lacks(
            "data",
            "CIFAR-10 is not on this machine, so convergence is judged on synthetic data; speed is the same",
            "let --data cifar10 download it once, or set STEPBENCH_DATA to a folder that holds it",
        )
