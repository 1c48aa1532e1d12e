"""A machine on which nothing is wrong, and ways to plant a fault in it."""

from __future__ import annotations

from typing import Any

import msgspec

from stepbench.records.doctor import Data, Disk, DoctorFacts, Load, NvidiaDriver, TensorFlowFacts
from stepbench.records.machine import GIB, Cpu, Environment, Gpu, Host, Memory, Software

GPU = Gpu(
    name="NVIDIA H200",
    driver="570.86",
    cuda="12.8",
    compute_capability=(9, 0),
    memory_used_bytes=GIB // 2,
    persistence=True,
    clock_limits=("gpu_idle",),
    other_processes=0,
)
FACTS = TensorFlowFacts(
    gpus=1,
    cuda="12.5.1",
    cudnn="9",
    gpu_code=("sm_80", "sm_89", "sm_90"),
    onednn=True,
    intra_op_threads=4,
    inter_op_threads=4,
    compiles_graphs=False,
    missing_libraries=(),
)
INNOCENT = DoctorFacts(
    environment=Environment(
        host=Host(system="Linux", architecture="x86_64"),
        cpu=Cpu(
            logical_cores=4,
            usable_cores=4.0,
            features=("avx2", "fma", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
            governor="performance",
            turbo=False,
        ),
        memory=Memory(total_bytes=64 * GIB),
        software=Software(packages={"tensorflow": "2.21.0"}),
        load_average=(0.1, 0.1, 0.1),
        variables={"TF_CPP_MIN_LOG_LEVEL": "1"},
        gpus=(GPU,),
    ),
    load=Load(cores=4, others_cores=0.01, steal_share=0.0),
    memory_left_bytes=50 * GIB,
    disk=Disk(folder="results", free_bytes=100 * GIB, free_files=10**6),
    data=Data(name="cifar10", folder="/data/cifar-10-batches-py"),
    driver=NvidiaDriver(boards=1, version="570.86", restricts_profiling=False, administrator=False),
    tensorflow=FACTS,
)


def changed(**facts: Any) -> DoctorFacts:
    """The innocent machine with some facts replaced, named as ``environment__cpu__governor``; GPUs by ``gpu__…``."""
    found = INNOCENT
    for name, value in facts.items():
        first, *rest = name.split("__")
        if first == "gpu":
            gpu = msgspec.structs.replace(found.environment.gpus[0], **{rest[0]: value})
            found = _replaced(found, ["environment", "gpus"], (gpu,))
        else:
            found = _replaced(found, [first, *rest], value)
    return found


def without_gpu(**facts: Any) -> DoctorFacts:
    """As :func:`changed`, on a machine without any trace of NVIDIA."""
    gone = NvidiaDriver(nvml_problem="NVML Shared Library Not Found")
    return changed(environment__gpus=(), tensorflow__gpus=0, driver=gone, **facts)


def with_variables(**variables: str) -> DoctorFacts:
    """The innocent machine with these environment variables."""
    return changed(environment__variables=variables)


def _replaced(part: Any, path: list[str], value: object) -> Any:
    name, *rest = path
    new = _replaced(getattr(part, name), rest, value) if rest else value
    return msgspec.structs.replace(part, **{name: new})
