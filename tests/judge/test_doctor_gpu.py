from __future__ import annotations

import pytest
from doctored import GPU, changed, without_gpu

from stepbench.judge import doctor_gpu as rules_gpu
from stepbench.judge.finding import Finding, Severity
from stepbench.records.doctor import DoctorFacts, NvidiaDriver
from stepbench.records.machine import GIB

SPOILS, HINDERS, LACKS, FINE = Severity
CUDA_LIBRARIES = ("libcudart.so.12", "libcudnn.so.9")


def hidden(*missing: str, **variables: str) -> DoctorFacts:
    """There is a GPU that TensorFlow does not use."""
    return changed(tensorflow__gpus=0, tensorflow__missing_libraries=missing, environment__variables=variables)


def unanswered(**driver: object) -> DoctorFacts:
    found = NvidiaDriver(nvml_problem="NVML Shared Library Not Found", **driver)  # type: ignore[arg-type]
    return changed(environment__gpus=(), tensorflow__gpus=0, driver=found)


PLANTED: list[tuple[str, DoctorFacts, Severity, str, str]] = [
    ("visibility", without_gpu(), LACKS, "no NVIDIA GPU is to be seen", "--gpus all"),
    ("visibility", unanswered(boards=1), LACKS, "does not answer (NVML Shared Library Not Found)", "modprobe nvidia"),
    ("visibility", unanswered(version="570.86"), LACKS, "its kernel module is 570.86", "--gpus all"),
    ("visibility", hidden(CUDA_VISIBLE_DEVICES=""), LACKS, "CUDA_VISIBLE_DEVICES='' hides it", "unset"),
    ("visibility", hidden(*CUDA_LIBRARIES), LACKS, "does not find libcudart.so.12, libcudnn.so.9", "stepbench[gpu]"),
    ("visibility", hidden("libcuda.so.1", "libcudart.so.12"), LACKS, "does not find libcuda.so.1, which", "driver"),
    ("visibility", hidden(), LACKS, "it does not say why", "TF_CPP_MIN_LOG_LEVEL=0"),
    ("visibility", changed(tensorflow__gpus=0, tensorflow__cuda=None), LACKS, "built without CUDA", "stepbench[gpu]"),
    ("compatibility", changed(gpu__cuda="11.4", gpu__driver="470.57"), LACKS,
     "driver 470.57 supports CUDA 11.4, and TensorFlow is built for 12.5.1", "supports CUDA 12"),
    ("compatibility", changed(gpu__compute_capability=(12, 0), tensorflow__gpu_code=("sm_80", "compute_90")), HINDERS,
     "no machine code for compute capability 12.0", "CUDA_CACHE_MAXSIZE"),
    ("compatibility", changed(gpu__compute_capability=(5, 2)), LACKS,
     "not built for compute capability 5.2", "TensorFlow"),
    ("compatibility", changed(gpu__compute_capability=(8, 6), tensorflow__gpu_code=("sm_89",)), LACKS,
     "not built for compute capability 8.6", "TensorFlow"),
    ("precisions", changed(gpu__compute_capability=(7, 5)), LACKS, "no units for bfloat16", "leave mixed_bfloat16 out"),
    ("state", changed(gpu__persistence=False), HINDERS, "persistence mode is off", "--persistence-mode=1"),
    ("state", changed(gpu__clock_limits=("gpu_idle", "hw_thermal_slowdown")), SPOILS,
     "lowered (hw_thermal_slowdown)", "cool"),
    ("state", changed(gpu__clock_limits=("sw_power_cap",)), HINDERS, "limited (sw_power_cap)", "nvidia-smi"),
    ("state", changed(gpu__other_processes=1), SPOILS, "another process computes on it", "end them"),
    ("state", changed(gpu__other_processes=3), SPOILS, "3 other processes compute on it", "end them"),
    ("state", changed(gpu__memory_used_bytes=8 * GIB), HINDERS, "8.0 GiB of its memory are in use", "nvidia-smi"),
    ("profiling", changed(driver__restricts_profiling=True), LACKS, "administrators alone",
     "RestrictProfilingToAdminUsers=0"),
]  # fmt: skip

INNOCENT = [
    ("visibility", changed(environment__variables={"CUDA_VISIBLE_DEVICES": "0"})),
    ("visibility", changed(environment__gpus=(GPU, GPU))),  # One of them is chosen by CUDA_VISIBLE_DEVICES.
    ("compatibility", changed(gpu__cuda="12.0")),  # Minor versions are compatible.
    ("compatibility", changed(gpu__cuda="13.0")),
    ("compatibility", changed(gpu__compute_capability=(8, 6))),  # Runs the code for 8.0.
    ("compatibility", changed(tensorflow__gpu_code=("sm_80", "compute_90"))),
    ("compatibility", changed(tensorflow__gpu_code=("8.6", "9.0"))),
    ("compatibility", changed(tensorflow__gpu_code=("sm_90a",))),
    ("state", changed(gpu__clock_limits=("gpu_idle", "application_clocks"))),
    ("state", changed(gpu__clock_limits=None, gpu__persistence=None, gpu__memory_used_bytes=None)),
    ("profiling", changed(driver__restricts_profiling=True, driver__administrator=True)),
]


def judge(rule: str, found: DoctorFacts) -> list[Finding]:
    return list(getattr(rules_gpu, rule)(found))


@pytest.mark.parametrize(
    ("rule", "found", "severity", "words", "remedy"), PLANTED, ids=[words for *_, words, _ in PLANTED]
)
def test_a_planted_fault_is_found(rule: str, found: DoctorFacts, severity: Severity, words: str, remedy: str) -> None:
    (finding,) = (finding for finding in judge(rule, found) if finding.severity is not FINE)
    assert finding.severity is severity
    assert words in finding.what
    assert remedy in (finding.remedy or "")


@pytest.mark.parametrize(("rule", "found"), INNOCENT, ids=[rule for rule, _ in INNOCENT])
def test_what_is_no_fault_passes(rule: str, found: DoctorFacts) -> None:
    assert {finding.severity for finding in judge(rule, found)} == {FINE}


def test_an_old_gpu_lacks_both_half_precisions_and_one_of_today_none() -> None:
    findings = judge("precisions", changed(gpu__compute_capability=(6, 1)))
    assert [finding.severity for finding in findings] == [LACKS, LACKS]
    assert judge("precisions", changed()) == []
    assert judge("precisions", changed(gpu__compute_capability=(8, 0))) == [], "the first that has units for both"


@pytest.mark.parametrize("rule", ["compatibility", "state", "precisions", "profiling"])
def test_without_a_gpu_only_its_absence_is_said(rule: str) -> None:
    assert judge(rule, without_gpu(driver__restricts_profiling=True)) == []


def test_a_tensorflow_that_does_not_start_is_not_said_to_miss_the_gpu() -> None:
    found = changed(tensorflow=None, tensorflow_failure="It is gone.")
    assert [*judge("visibility", found), *judge("compatibility", found)] == []


def test_several_gpus_are_told_apart() -> None:
    found = changed(environment__gpus=(GPU, GPU), tensorflow__gpus=2)
    assert [finding.area for finding in judge("state", found)] == ["GPU 0", "GPU 1"]
