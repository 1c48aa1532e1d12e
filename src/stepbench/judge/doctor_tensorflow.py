"""What helps or spoils measurements in TensorFlow, its settings and what is installed beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stepbench.judge.finding import Finding, Severity, fine, hinders, spoils
from stepbench.records.doctor import DoctorFacts
from stepbench.records.machine import ONEDNN_VARIABLE

ONEDNN_FEATURES = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
"""TensorFlow uses oneDNN unasked on an x86 CPU with one of these (DefaultOneDnnPolicy in its util/port.cc)."""
INTRA_OP, INTER_OP = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
NUMPY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS")
_CLUSTERING = ("tf_xla_auto_jit", "tf_xla_cpu_global_jit")
_REFUSED_FLAGS = re.compile(r"Unknown flags? in (\w+)|read flags for environment variable \"(\w+)\"")
_FLAG = re.compile(r"""(?<!\S)--?([\w-]+)(?:=("[^"]*"|'[^']*'|\S*))?""")
_SINGLE_GPU = re.compile(r"single-gpu\((-?\d+)\)")
_OFF = ("0", "false")
_ON = ("1", "true")


class Setting(NamedTuple):
    """An environment variable that changes what is measured."""

    variable: str
    is_bad: Callable[[str], bool]
    severity: Severity
    effect: str
    gpu_only: bool = False


def _is_on(value: str) -> bool:
    return value.lower() in _ON


def _is_off(value: str) -> bool:
    return value.lower() in _OFF


SETTINGS = (
    Setting(
        "TF_DETERMINISTIC_OPS",
        _is_on,
        Severity.SPOILS,
        "has TensorFlow use repeatable kernels, slower ones in part, and refuse random operations without a seed",
    ),
    Setting(
        "TF_CPP_MAX_VLOG_LEVEL",
        lambda value: (_number(value) or 0) > 0,
        Severity.SPOILS,
        "has TensorFlow write a log while it computes",
    ),
    Setting(
        "TF_FORCE_GPU_ALLOW_GROWTH",
        lambda value: value == "false",
        Severity.SPOILS,
        "has the first worker take all memory of the GPU, so that the others find none",
        gpu_only=True,
    ),
    Setting(
        "NVIDIA_TF32_OVERRIDE",
        lambda value: value == "0",
        Severity.SPOILS,
        "forbids TF32, in which TensorFlow computes float32 products on GPUs from Ampere on",
        gpu_only=True,
    ),
    Setting(
        "CUDA_LAUNCH_BLOCKING",
        lambda value: value == "1",
        Severity.SPOILS,
        "has the host wait for each kernel",
        gpu_only=True,
    ),
    Setting(
        "TF_CUDNN_USE_AUTOTUNE",
        _is_off,
        Severity.SPOILS,
        "has convolutions choose their algorithm untried",
        gpu_only=True,
    ),
    Setting(
        "TF_GPU_ALLOCATOR",
        bool,
        Severity.HINDERS,
        "changes how GPU memory is allocated, so that times and peaks hold with it only",
        gpu_only=True,
    ),
)


def start(found: DoctorFacts) -> Iterator[Finding]:
    """Whether workers start at all."""
    if found.tensorflow is None:
        why = found.tensorflow_failure or "it gave no reason"
        if refused := _REFUSED_FLAGS.search(why):
            variable = refused[1] or refused[2]
            value = found.environment.variables.get(variable, "")
            what = f"TensorFlow ends at once over {variable}={value}"
            yield spoils("XLA flags", what, f"correct or unset {variable}")
        else:
            yield spoils("TensorFlow", f"it does not start: {why}", "make 'import tensorflow' work in this environment")
        return
    packages = found.environment.software.packages
    versions = (f"{name} {packages[name]}" for name in ("tensorflow", "keras") if name in packages)
    yield fine("TensorFlow", f"it starts, and compiles with XLA ({', '.join(versions)})")


def onednn(found: DoctorFacts) -> Iterator[Finding]:
    """Whether TensorFlow's fast CPU kernels are those that it would use by itself."""
    environment = found.environment
    value = environment.variables.get(ONEDNN_VARIABLE)
    asked = environment.onednn
    usual = bool(ONEDNN_FEATURES.intersection(environment.cpu.features))
    remedy = f"unset {ONEDNN_VARIABLE}"
    if value and asked is None:
        yield hinders("oneDNN", f"{ONEDNN_VARIABLE}={value} means nothing to TensorFlow", remedy)
    elif asked is False and usual:
        what = "switches oneDNN off, which TensorFlow uses on this CPU: other variants may then be the fastest"
        yield spoils("oneDNN", f"{ONEDNN_VARIABLE}={value} {what}", remedy)
    elif asked and not usual:
        what = "switches oneDNN on, which TensorFlow does not use on this CPU by itself"
        yield hinders("oneDNN", f"{ONEDNN_VARIABLE}={value} {what}: numbers hold with it only", remedy)
    elif found.tensorflow:
        yield fine("oneDNN", f"it is {'on' if found.tensorflow.onednn else 'off'}, as TensorFlow has it on this CPU")


def xla_flags(found: DoctorFacts) -> Iterator[Finding]:
    """Whether XLA compiles what it is asked to, and as it is meant to."""
    findings = [*_auto_clustering(found), *_other_flags(found)]
    yield from findings
    if found.tensorflow and not findings:
        yield fine("XLA flags", "none changes what XLA does")


def _auto_clustering(found: DoctorFacts) -> Iterator[Finding]:
    flags = parse_flags(found.environment.variables.get("TF_XLA_FLAGS", ""))
    asked = _clusters(flags.get("tf_xla_auto_jit", "0"))
    seen = found.tensorflow is not None and found.tensorflow.compiles_graphs
    meant_for_cpu = flags.get("tf_xla_cpu_global_jit", "false").lower() in ("", *_ON)
    remedy = "take --tf_xla_auto_jit out of TF_XLA_FLAGS"
    if seen or (asked and (meant_for_cpu or found.environment.gpus)):
        yield spoils("XLA flags", "TF_XLA_FLAGS has XLA compile graphs unasked: graph cases would be XLA's", remedy)
    elif asked:
        what = "TF_XLA_FLAGS asks for XLA in all graphs, which without --tf_xla_cpu_global_jit reaches only GPUs"
        yield hinders("XLA flags", what, remedy)


def _other_flags(found: DoctorFacts) -> Iterator[Finding]:
    for variable in _FLAGS if found.tensorflow else ():  # Else these may be why it does not start.
        value = found.environment.variables.get(variable, "").strip()
        if value and not value.startswith("-"):
            what = f"{variable} names a file of flags, {value}, which was not looked into"
            yield hinders("XLA flags", what, f"unset {variable}, or measure without it too")
            continue
        if flags := [f"--{flag}" for flag in parse_flags(value) if flag not in _CLUSTERING]:
            what = f"{variable} has {', '.join(flags)}: numbers hold with that only"
            yield hinders("XLA flags", what, f"unset {variable}, unless training runs with it too")


def threads(found: DoctorFacts) -> Iterator[Finding]:
    """Whether TensorFlow computes on all processors that it may use, and on no more."""
    usable, facts, variables = found.environment.cpu.usable_cores, found.tensorflow, found.environment.variables
    if usable is None:
        return
    counts = {
        INTRA_OP: facts.intra_op_threads if facts else _number(variables.get(INTRA_OP)),
        INTER_OP: facts.inter_op_threads if facts else _number(variables.get(INTER_OP)),
    }
    findings = [
        finding
        for variable, count in counts.items()
        if count and (finding := _thread_count(variable, count, usable, variables.get(variable)))
    ]
    yield from findings
    if facts and not findings:
        yield fine("threads", f"TensorFlow computes with {facts.intra_op_threads} on {usable:g} processors")
    yield from _numpy_threads(found, usable)


def _thread_count(variable: str, count: int, usable: float, value: str | None) -> Finding | None:
    what = "share an operation" if variable == INTRA_OP else "run operations side by side"
    told = f"TensorFlow lets {count} thread{'s' if count > 1 else ''} {what} on {usable:g} processors"
    if value:
        told = f"{variable}={value}: {told}"
    if count > math.ceil(usable):
        # Above a quota they are all stopped for part of each of its periods, of mostly 100 ms.
        return spoils("threads", f"{told}, so that they take turns", f"set {variable}={max(1, int(usable))}")
    if count >= int(usable):
        return None
    remedy = f"unset {variable}" if value else f"set {variable}={int(usable)}"
    return spoils("threads", told, remedy) if count == 1 else hinders("threads", told, remedy)


def _numpy_threads(found: DoctorFacts, usable: float) -> Iterator[Finding]:
    for variable in NUMPY_THREADS:
        value = found.environment.variables.get(variable)
        count = _number(value)
        if count and count < int(usable):
            what = f"{variable}={value} limits libraries such as NumPy, though not TensorFlow itself"
            yield hinders("threads", what, f"unset {variable}, if your data is made with them")


def settings(found: DoctorFacts) -> Iterator[Finding]:
    """Whether environment variables change what is measured."""
    variables = found.environment.variables
    for setting in SETTINGS:
        value = variables.get(setting.variable)
        if not value or not setting.is_bad(value) or (setting.gpu_only and not found.environment.gpus):
            continue
        what = f"{setting.variable}={value} {setting.effect}"
        yield Finding(setting.severity, "settings", what, f"unset {setting.variable}")


def software(found: DoctorFacts) -> Iterator[Finding]:
    """Whether what is installed fits together, by what its authors say."""
    for misfit in found.misfits:
        has = f"{misfit.found} is installed" if misfit.found else "it is not installed"
        what = f"{misfit.distribution} needs {misfit.requirement}, and {has}"
        yield spoils("software", what, f"pip install '{misfit.requirement}'")
    if not found.misfits:
        yield fine("software", "the installed versions of TensorFlow, TensorBoard and its profile plugin fit together")


def parse_flags(text: str) -> dict[str, str]:
    """The flags in ``TF_XLA_FLAGS`` or ``XLA_FLAGS``, by name; one without a value has ``""``."""
    return {name: (value or "").strip("\"'") for name, value in _FLAG.findall(text)}


def _clusters(value: str) -> bool:
    """Whether a value of ``--tf_xla_auto_jit`` has XLA compile graphs."""
    inner = _SINGLE_GPU.fullmatch(value)
    level = _number(inner[1] if inner else value)
    return value == "fusible" if level is None else level > 0


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
