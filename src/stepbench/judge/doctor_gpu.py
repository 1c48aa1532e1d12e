"""What helps or spoils measurements on NVIDIA's GPUs. Each rule gives its findings on one subject."""

from __future__ import annotations

from collections.abc import Iterator

from stepbench.judge.finding import Finding, fine, hinders, lacks, size, spoils
from stepbench.records.doctor import DoctorFacts
from stepbench.records.machine import GIB, Gpu

HIDING_VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
"""Come with the driver, not with CUDA."""
SLOWDOWNS = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake")
LIMITS = ("sw_power_cap", "sync_boost", "display_clocks")
"""Reasons for lower clocks that do not come from heat or from failing power."""
UNSEEN_BYTES = 2 * GIB
"""Of memory in use by nobody that shows; the driver keeps less for itself."""
BFLOAT16_SINCE, TENSOR_CORES_SINCE = (8, 0), (7, 0)
"""Compute capabilities."""


def visibility(found: DoctorFacts) -> Iterator[Finding]:
    """Whether TensorFlow uses the GPUs that are there, and if not, why."""
    usable = found.tensorflow.gpus if found.tensorflow else 0
    there = len(found.environment.gpus)
    if usable and usable >= there:
        names = ", ".join(gpu.name or "?" for gpu in found.environment.gpus)
        yield fine("GPU", f"TensorFlow uses {usable}{f' ({names})' if names else ''}")
    elif usable:
        yield fine("GPU", f"TensorFlow uses {usable} of {there}")
    elif there:
        yield from _hidden(found)
    elif found.driver.boards or found.driver.version:
        yield _no_driver(found)
    else:
        what = "no NVIDIA GPU is to be seen, so that only the CPU can be measured"
        yield lacks("GPU", what, "if there should be one: in a container start it with --gpus all; else see 'lspci'")


def _no_driver(found: DoctorFacts) -> Finding:
    driver = found.driver
    what = f"there is an NVIDIA GPU, but its driver does not answer ({driver.nvml_problem or 'it shows none'})"
    if driver.version is None:
        return lacks("GPU", what, "install NVIDIA's driver, or load it with 'sudo modprobe nvidia'")
    remedy = "in a container start it with --gpus all, else restart the computer: 'nvidia-smi' must work"
    return lacks("GPU", f"{what}; its kernel module is {driver.version}", remedy)


def _hidden(found: DoctorFacts) -> Iterator[Finding]:
    """There are GPUs that TensorFlow does not use; a TensorFlow that does not start is told of elsewhere."""
    facts, variables = found.tensorflow, found.environment.variables
    if facts is None:
        return
    if facts.cuda is None:
        what, remedy = "it is built without CUDA", "pip install 'stepbench[gpu]'"
    elif HIDING_VARIABLE in variables:
        value = variables[HIDING_VARIABLE]
        what, remedy = f"{HIDING_VARIABLE}={value!r} hides it", f"unset {HIDING_VARIABLE}"
    elif from_driver := [name for name in facts.missing_libraries if name in DRIVER_LIBRARIES]:
        what = f"it does not find {', '.join(from_driver)}, which come with the driver"
        remedy = "install the driver whole; in a container start it with --gpus all"
    elif facts.missing_libraries:
        what = f"it does not find {', '.join(facts.missing_libraries)}"
        remedy = "pip install 'stepbench[gpu]', or put the folders that hold them on LD_LIBRARY_PATH"
    else:
        what = "it does not say why"
        remedy = "see TensorFlow's log: TF_CPP_MIN_LOG_LEVEL=0 python -c 'import tensorflow as tf; tf.constant(0)'"
    yield lacks("GPU", f"there is a GPU, but TensorFlow does not use it: {what}", remedy)


def compatibility(found: DoctorFacts) -> Iterator[Finding]:
    """Whether driver, GPU and TensorFlow's CUDA fit together."""
    facts = found.tensorflow
    if facts is None or facts.cuda is None:
        return
    for label, gpu in _labelled(found):
        if gpu.cuda and _major(gpu.cuda) < _major(facts.cuda):
            what = f"driver {gpu.driver} supports CUDA {gpu.cuda}, and TensorFlow is built for {facts.cuda}"
            yield lacks(label, what, f"install a driver that supports CUDA {_major(facts.cuda)}")
        elif gpu.cuda:  # Within a major version, an older driver runs what was built for a newer one.
            yield fine(label, f"driver {gpu.driver} (CUDA {gpu.cuda}) runs TensorFlow's CUDA {facts.cuda}")
        if gpu.compute_capability and facts.gpu_code:
            yield from _code(label, gpu.compute_capability, facts.gpu_code)


def _code(label: str, capability: tuple[int, int], gpu_code: tuple[str, ...]) -> Iterator[Finding]:
    named = f"compute capability {capability[0]}.{capability[1]}"
    kinds = [(kind, _capability(number)) for kind, _, number in (code.rpartition("_") for code in gpu_code)]
    if any(built[0] == capability[0] and built <= capability for _, built in kinds):
        return  # Machine code runs on later GPUs of its own generation.
    if any(kind != "sm" and built <= capability for kind, built in kinds):
        what = f"TensorFlow has no machine code for {named}: the driver compiles its kernels when they are first used"
        remedy = "run once before measuring; CUDA_CACHE_MAXSIZE=4294967296 lets the driver keep them all"
        yield hinders(label, what, remedy)
    else:
        yield lacks(label, f"TensorFlow is not built for {named}", "use a TensorFlow that supports this GPU")


def precisions(found: DoctorFacts) -> Iterator[Finding]:
    """Which precisions the GPU has units for."""
    for label, gpu in _labelled(found):
        capability = gpu.compute_capability
        if capability is None:
            continue
        if capability < BFLOAT16_SINCE:
            what = "it has no units for bfloat16, which came with compute capability 8.0"
            yield lacks(label, what, "leave mixed_bfloat16 out on this GPU with --precision")
        if capability < TENSOR_CORES_SINCE:
            what = "it has no tensor cores for float16, which came with compute capability 7.0"
            yield lacks(label, what, "leave mixed_float16 out on this GPU with --precision")


def profiling(found: DoctorFacts) -> Iterator[Finding]:
    """Whether GPU kernels may be traced."""
    driver = found.driver
    if not found.environment.gpus or driver.restricts_profiling is None:
        return
    if driver.restricts_profiling and not driver.administrator:
        yield lacks(
            "CUPTI",
            "the driver lets administrators alone read performance counters, and some versions of CUPTI then trace no "
            "kernels either",
            "if traces show nothing of the GPU: put 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' into "
            "/etc/modprobe.d and restart, or start the container with --cap-add SYS_ADMIN",
        )
    else:
        yield fine("CUPTI", "this user may trace GPU kernels")


def state(found: DoctorFacts) -> Iterator[Finding]:
    """Whether the GPU is free, awake and at its full clock."""
    for label, gpu in _labelled(found):
        findings = [*_neighbours(label, gpu), *_clocks(label, gpu)]
        if gpu.persistence is False:
            what = "persistence mode is off: the driver starts the GPU anew for each process"
            findings.append(hinders(label, what, "sudo nvidia-smi --persistence-mode=1"))
        yield from findings or [fine(label, "it is free, and nothing lowers its clock")]


def _neighbours(label: str, gpu: Gpu) -> Iterator[Finding]:
    if gpu.other_processes:
        what = "another process computes on it"
        if gpu.other_processes > 1:
            what = f"{gpu.other_processes} other processes compute on it"
        yield spoils(label, what, "end them ('nvidia-smi' lists them), or measure on another GPU")
    elif gpu.memory_used_bytes and gpu.memory_used_bytes > UNSEEN_BYTES:
        what = f"{size(gpu.memory_used_bytes)} of its memory are in use, though no process shows"
        yield hinders(label, what, "look with 'nvidia-smi' outside of this container, and end what holds them")


def _clocks(label: str, gpu: Gpu) -> Iterator[Finding]:
    reasons = gpu.clock_limits or ()
    if slow := [reason for reason in reasons if reason in SLOWDOWNS]:
        what = f"its clock is lowered ({', '.join(slow)})"
        yield spoils(label, what, "let it cool, and see to its cooling and power")
    if limited := [reason for reason in reasons if reason in LIMITS]:
        what = f"its clock is limited ({', '.join(limited)})"
        yield hinders(label, what, "see 'nvidia-smi -q -d CLOCK,POWER' for the limits that are set")


def _labelled(found: DoctorFacts) -> Iterator[tuple[str, Gpu]]:
    gpus = found.environment.gpus
    return ((f"GPU {index}" if len(gpus) > 1 else "GPU", gpu) for index, gpu in enumerate(gpus))


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _capability(number: str) -> tuple[int, int]:
    """``90`` and ``9.0`` → (9, 0), ``120`` → (12, 0); a letter behind says no more here."""
    digits = "".join(filter(str.isdecimal, number)) or "0"
    return int(digits[:-1] or "0"), int(digits[-1])
