from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepbench.records.machine import Cpu, Environment, Gpu, Host, Memory, Repository, Software, differences

FULL = Environment(
    host=Host(hostname="a", system="Linux", kernel="6.1", architecture="x86_64", product="Cloud c1", hypervisor=True),
    cpu=Cpu(
        model="AMD EPYC",
        vendor="AuthenticAMD",
        family=26,
        model_number=2,
        logical_cores=8,
        physical_cores=4,
        usable_cores=1.5,
        features=("avx2", "fma"),
        governor="performance",
        turbo=True,
        max_mhz=3700.0,
        smt=True,
    ),
    memory=Memory(total_bytes=16 * 2**30, available_bytes=2**30, transparent_hugepages="madvise"),
    software=Software(python="3.11.7", packages={"tensorflow": "2.21.0", "numpy": "2.4.6", "xprof": "2.24"}),
    load_average=(0.5, 1.0, 1.5),
    variables={"XLA_FLAGS": "--xla_a"},
    repository=Repository(commit="0123456789abcdef", branch="main", dirty=False),
    gpus=(Gpu(name="NVIDIA H200", driver="580.1", compute_capability=(9, 0), power_limit_w=700.0, clock_limits=()),),
)


def with_part(part: str, **changes: Any) -> Environment:
    return msgspec.structs.replace(FULL, **{part: msgspec.structs.replace(getattr(FULL, part), **changes)})


def with_variables(**variables: str) -> Environment:
    return msgspec.structs.replace(FULL, variables=variables)


@pytest.mark.parametrize("environment", [FULL, Environment()])
def test_survives_strict_json(environment: Environment) -> None:
    encoded = msgspec.json.encode(environment)
    assert msgspec.json.decode(encoded, type=Environment, strict=True) == environment


def test_json_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"cpu":{"logical_cores":"8"}}', type=Environment, strict=True)


def test_fingerprint_is_the_one_that_stored_runs_have() -> None:
    assert FULL.fingerprint == "6f88bd82af27"


@pytest.mark.parametrize(
    "changed",
    [
        with_part("cpu", model="Intel"),
        with_part("cpu", model_number=17),
        with_part("cpu", logical_cores=16),
        with_part("cpu", physical_cores=8),
        with_part("cpu", usable_cores=1.0),
        with_part("cpu", features=("avx2",)),
        with_part("memory", total_bytes=32 * 2**30),
        with_part("host", system="Darwin"),
        with_part("host", architecture="aarch64"),
        with_part("software", packages={"tensorflow": "2.22.0", "numpy": "2.4.6"}),
        with_variables(XLA_FLAGS="--xla_a", TF_ENABLE_ONEDNN_OPTS="0"),
        msgspec.structs.replace(FULL, gpus=()),
        msgspec.structs.replace(FULL, gpus=(*FULL.gpus, *FULL.gpus)),
    ],
)
def test_fingerprint_sees_what_decides_speed(changed: Environment) -> None:
    assert changed.fingerprint != FULL.fingerprint
    assert differences(FULL, changed)


@pytest.mark.parametrize(
    "changed",
    [
        with_part("memory", total_bytes=16 * 2**30 - 40 * 2**20),
        with_part("memory", available_bytes=1),
        with_part("host", hostname="b"),
        with_part("software", packages={"tensorflow": "2.21.0", "numpy": "2.4.6", "xprof": "2.25"}),
        msgspec.structs.replace(FULL, load_average=None),
        msgspec.structs.replace(FULL, repository=None),
        msgspec.structs.replace(FULL, gpus=(msgspec.structs.replace(FULL.gpus[0], temperature_c=80),)),
        with_variables(XLA_FLAGS="--xla_a", TF_CPP_MIN_LOG_LEVEL="3"),
    ],
)
def test_what_is_momentary_or_idle_makes_no_difference(changed: Environment) -> None:
    assert changed.fingerprint == FULL.fingerprint
    assert differences(FULL, changed) == ()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (with_part("cpu", model="Xeon"), "CPU: AMD EPYC (family 26, model 2) vs Xeon (family 26, model 2)"),
        (with_part("cpu", usable_cores=8.0), "usable cores: 1.5 vs 8"),
        (with_part("cpu", governor="powersave"), "frequency governor: performance vs powersave"),
        (with_part("cpu", turbo=None), "turbo: on vs unknown"),
        (with_part("cpu", smt=False), "SMT: on vs off"),
        (with_part("cpu", max_mhz=2250.0), "highest frequency: 3700 MHz vs 2250 MHz"),
        (with_part("memory", limit_bytes=2**33), "memory limit: none vs 8 GiB"),
        (with_part("host", kernel="6.2"), "kernel: 6.1 vs 6.2"),
        (with_variables(), "XLA_FLAGS: '--xla_a' vs absent"),
        (with_variables(XLA_FLAGS=""), "XLA_FLAGS: '--xla_a' vs ''"),
        (with_variables(XLA_FLAGS="--xla_a", TF_ENABLE_ONEDNN_OPTS="0"), "oneDNN: TensorFlow's choice vs off"),
        (
            with_part("software", packages={"tensorflow": "2.21.0", "numpy": "2.4.6", "nvidia-cudnn-cu12": "9.1"}),
            "nvidia-cudnn-cu12: absent vs 9.1",
        ),
        (
            msgspec.structs.replace(FULL, gpus=(msgspec.structs.replace(FULL.gpus[0], driver="590.2"),)),
            "GPU drivers: 580.1 vs 590.2",
        ),
        (
            msgspec.structs.replace(FULL, gpus=(msgspec.structs.replace(FULL.gpus[0], power_limit_w=300.0),)),
            (
                "GPU settings: power limit 700 W, highest SM clock unknown, MIG unknown, ECC unknown vs "
                "power limit 300 W, highest SM clock unknown, MIG unknown, ECC unknown"
            ),
        ),
    ],
)
def test_a_difference_is_told_once_in_words(changed: Environment, sentence: str) -> None:
    assert differences(FULL, changed) == (sentence,)


@pytest.mark.parametrize(
    ("value", "meaning"), [("0", False), ("false", False), ("1", True), ("True", True), ("", None), ("perhaps", None)]
)
def test_onednn_is_read_as_tensorflow_reads_it(value: str, *, meaning: bool | None) -> None:
    assert with_variables(TF_ENABLE_ONEDNN_OPTS=value).onednn is meaning


def test_times_of_forked_workers_are_not_compared_with_those_of_started_ones() -> None:
    forked = msgspec.structs.replace(FULL, forks=True)
    assert forked.fingerprint != FULL.fingerprint
    assert differences(FULL, forked) == ("workers: started vs forked",)
    assert forked.is_same_machine(FULL)
    assert FULL.is_same_machine(forked)
    assert not FULL.is_same_machine(msgspec.structs.replace(FULL, cpu=Cpu()))


def test_onednn_unset_is_tensorflows_choice() -> None:
    assert FULL.onednn is None


def test_a_repository_has_a_short_name() -> None:
    assert str(Repository(commit="0123456789abcdef", dirty=False)) == "0123456789ab"
    assert str(Repository(commit="0123456789abcdef", dirty=True)) == "0123456789ab-dirty"
    assert str(Repository()) == "no commit"
