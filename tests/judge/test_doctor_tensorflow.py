from __future__ import annotations

import pytest
from doctored import changed, with_variables, without_gpu
from hypothesis import given
from hypothesis import strategies as st

from stepbench.judge import doctor_tensorflow as rules_tensorflow
from stepbench.judge.doctor_tensorflow import parse_flags
from stepbench.judge.finding import Finding, Severity
from stepbench.records.doctor import DoctorFacts, Misfit

SPOILS, HINDERS, LACKS, FINE = Severity
OLD_CPU = ("avx2", "fma")
CLUSTERING = "--tf_xla_auto_jit=2"
UNKNOWN = (
    "Its process exited with code 1; the end of its output: To enable the following instructions / "
    "F0000 00:00:1 1312 parse_flags_from_env.cc:234] Unknown flag in TF_XLA_FLAGS: --nonsense"
)
NO_FILE = 'F0000] Could not open file "fusible" to read flags for environment variable "TF_XLA_FLAGS".'


def broken(failure: str, **variables: str) -> DoctorFacts:
    return changed(tensorflow=None, tensorflow_failure=failure, environment__variables=variables)


def threads_on(usable: float, *, intra_op: int, inter_op: int) -> DoctorFacts:
    return changed(
        environment__cpu__usable_cores=usable,
        tensorflow__intra_op_threads=intra_op,
        tensorflow__inter_op_threads=inter_op,
    )


PLANTED: list[tuple[str, DoctorFacts, Severity, str]] = [
    ("start", broken("No module named 'tensorflow'"), SPOILS, "it does not start: No module named 'tensorflow'"),
    ("start", broken(UNKNOWN, TF_XLA_FLAGS="--nonsense"), SPOILS, "ends at once over TF_XLA_FLAGS=--nonsense"),
    ("start", broken(NO_FILE, TF_XLA_FLAGS="fusible"), SPOILS, "ends at once over TF_XLA_FLAGS=fusible"),
    ("onednn", with_variables(TF_ENABLE_ONEDNN_OPTS="0"), SPOILS, "TF_ENABLE_ONEDNN_OPTS=0 switches oneDNN off"),
    ("onednn", with_variables(TF_ENABLE_ONEDNN_OPTS="False"), SPOILS, "switches oneDNN off"),
    ("onednn", with_variables(TF_ENABLE_ONEDNN_OPTS="off"), HINDERS, "means nothing to TensorFlow"),
    ("onednn", changed(environment__variables={"TF_ENABLE_ONEDNN_OPTS": "1"}, environment__cpu__features=OLD_CPU),
     HINDERS, "switches oneDNN on"),
    ("xla_flags", changed(tensorflow__compiles_graphs=True), SPOILS, "graph cases would be XLA's"),
    ("xla_flags", with_variables(TF_XLA_FLAGS=CLUSTERING), SPOILS, "graph cases would be XLA's"),
    ("xla_flags", without_gpu(environment__variables={"TF_XLA_FLAGS": CLUSTERING}), HINDERS, "reaches only GPUs"),
    ("xla_flags", without_gpu(environment__variables={"TF_XLA_FLAGS": f"{CLUSTERING} --tf_xla_cpu_global_jit"}),
     SPOILS, "graph cases would be XLA's"),
    ("xla_flags", with_variables(TF_XLA_FLAGS="--tf_xla_auto_jit=fusible"), SPOILS, "graph cases would be XLA's"),
    ("xla_flags", with_variables(TF_XLA_FLAGS="--tf_xla_auto_jit=single-gpu(1)"), SPOILS, "graph cases would be XLA's"),
    ("xla_flags", with_variables(XLA_FLAGS="--xla_dump_to=dump"), HINDERS, "XLA_FLAGS has --xla_dump_to"),
    ("xla_flags", with_variables(XLA_FLAGS="flags.txt"), HINDERS, "names a file of flags, flags.txt"),
    ("threads", changed(tensorflow__intra_op_threads=1, environment__variables={"TF_NUM_INTRAOP_THREADS": "1"}),
     SPOILS, "TF_NUM_INTRAOP_THREADS=1: TensorFlow lets 1 thread share an operation on 4 processors"),
    ("threads", changed(tensorflow__inter_op_threads=1), SPOILS, "1 thread run operations side by side on 4"),
    ("threads", changed(tensorflow__intra_op_threads=3), HINDERS, "3 threads share an operation on 4 processors"),
    ("threads", threads_on(2.0, intra_op=4, inter_op=2), SPOILS,
     "4 threads share an operation on 2 processors, so that they take turns"),
    ("threads", broken("It is gone.", TF_NUM_INTRAOP_THREADS="1"), SPOILS, "1 thread share an operation"),
    ("threads", with_variables(OMP_NUM_THREADS="1"), HINDERS, "OMP_NUM_THREADS=1 limits libraries such as NumPy"),
    ("settings", with_variables(TF_DETERMINISTIC_OPS="1"), SPOILS, "repeatable kernels"),
    ("settings", with_variables(TF_CPP_MAX_VLOG_LEVEL="2"), SPOILS, "write a log"),
    ("settings", with_variables(TF_FORCE_GPU_ALLOW_GROWTH="false"), SPOILS, "take all memory of the GPU"),
    ("settings", with_variables(NVIDIA_TF32_OVERRIDE="0"), SPOILS, "forbids TF32"),
    ("settings", with_variables(CUDA_LAUNCH_BLOCKING="1"), SPOILS, "wait for each kernel"),
    ("settings", with_variables(TF_CUDNN_USE_AUTOTUNE="0"), SPOILS, "algorithm untried"),
    ("settings", with_variables(TF_GPU_ALLOCATOR="cuda_malloc_async"), HINDERS, "GPU memory is allocated"),
    ("software", changed(misfits=(Misfit("tensorboard-plugin-profile 2.24.2", "xprof==2.24.2", None),)),
     SPOILS, "tensorboard-plugin-profile 2.24.2 needs xprof==2.24.2, and it is not installed"),
    ("software", changed(misfits=(Misfit("tensorflow 2.21.0", "protobuf<8.0.0,>=6.31.1", "5.29"),)),
     SPOILS, "tensorflow 2.21.0 needs protobuf<8.0.0,>=6.31.1, and 5.29 is installed"),
]  # fmt: skip

INNOCENT = [
    ("onednn", with_variables(TF_ENABLE_ONEDNN_OPTS="1")),
    # TensorFlow would not use it there anyway.
    ("onednn", changed(environment__variables={"TF_ENABLE_ONEDNN_OPTS": "0"}, environment__cpu__features=OLD_CPU)),
    ("xla_flags", with_variables(TF_XLA_FLAGS="--tf_xla_auto_jit=0")),
    ("xla_flags", with_variables(TF_XLA_FLAGS="--tf_xla_auto_jit=-1 --tf_xla_cpu_global_jit")),
    ("xla_flags", with_variables(TF_XLA_FLAGS="", XLA_FLAGS=" ")),
    ("threads", with_variables(TF_NUM_INTRAOP_THREADS="4", OMP_NUM_THREADS="4")),
    ("threads", threads_on(1.5, intra_op=2, inter_op=2)),
    ("threads", threads_on(1.0, intra_op=1, inter_op=1)),
]  # fmt: skip

HARMLESS = [
    with_variables(TF_DETERMINISTIC_OPS="0", TF_CPP_MAX_VLOG_LEVEL="0", TF_FORCE_GPU_ALLOW_GROWTH="true"),
    with_variables(NVIDIA_TF32_OVERRIDE="1", TF_CUDNN_USE_AUTOTUNE="1", TF_CPP_MAX_VLOG_LEVEL="many"),
    without_gpu(environment__variables={"NVIDIA_TF32_OVERRIDE": "0", "TF_GPU_ALLOCATOR": "cuda_malloc_async"}),
]


def judge(rule: str, found: DoctorFacts) -> list[Finding]:
    return list(getattr(rules_tensorflow, rule)(found))


@pytest.mark.parametrize(("rule", "found", "severity", "words"), PLANTED, ids=[words for *_, words in PLANTED])
def test_a_planted_fault_is_found(rule: str, found: DoctorFacts, severity: Severity, words: str) -> None:
    finding = next(finding for finding in judge(rule, found) if finding.severity is not FINE)
    assert finding.severity is severity
    assert words in finding.what
    assert finding.remedy


@pytest.mark.parametrize(("rule", "found"), INNOCENT, ids=[rule for rule, _ in INNOCENT])
def test_what_is_no_fault_passes(rule: str, found: DoctorFacts) -> None:
    assert {finding.severity for finding in judge(rule, found)} == {FINE}


@pytest.mark.parametrize("found", HARMLESS)
def test_a_variable_that_changes_nothing_here_is_not_mentioned(found: DoctorFacts) -> None:
    assert judge("settings", found) == []


def test_what_keeps_tensorflow_from_starting_is_told_once_and_nothing_said_to_be_fine() -> None:
    found = broken(UNKNOWN, TF_XLA_FLAGS="--nonsense")
    assert judge("xla_flags", found) == []
    found = broken("It is gone.")
    assert [finding for rule in ("onednn", "xla_flags", "threads") for finding in judge(rule, found)] == []


def test_flags_as_tensorflow_reads_them() -> None:
    text = """--a=1 --b --c="x y" -d='--e' stray f=2"""
    assert parse_flags(text) == {"a": "1", "b": "", "c": "x y", "d": "--e"}


@given(st.text())
def test_no_text_makes_the_flags_raise(text: str) -> None:
    judge("xla_flags", with_variables(TF_XLA_FLAGS=text))
