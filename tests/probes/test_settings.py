"""What a setting takes on a machine, on trees that stand in for machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepbench.errors import StepbenchError
from stepbench.probes import settings as probe
from stepbench.probes.settings import (
    check_settings,
    effect_of,
    is_library_of,
    library_of,
    processors_of,
    spread_of,
)
from stepbench.records.cases import Device
from stepbench.records.settings import Setting


def machine(root: Path, sockets: int, cores: int, threads: int) -> list[int]:
    """A tree with the kernel's facts; threads of a core are numbered apart, as Linux does."""
    count = sockets * cores * threads
    for one in range(count):
        core = one % (sockets * cores)
        folder = root / f"sys/devices/system/cpu/cpu{one}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{core // cores}\n")
        siblings = range(core, count, sockets * cores)
        (folder / "thread_siblings_list").write_text(",".join(map(str, siblings)))
    return list(range(count))


def test_one_socket_and_one_thread_of_each_core(tmp_path: Path) -> None:
    usable = machine(tmp_path, sockets=2, cores=2, threads=2)
    assert processors_of("socket", tmp_path, usable) == {0, 1, 4, 5}
    assert processors_of("cores", tmp_path, usable) == {0, 1, 2, 3}
    assert processors_of("3", tmp_path, usable) == {0, 1, 2}
    assert processors_of("socket", tmp_path, [2, 3, 4]) == {2, 3}, "of those that may be used"
    assert spread_of("socket", {0, 1, 4, 5}, tmp_path) == "socket"
    assert spread_of("socket", {0, 2}, tmp_path) == "2"
    assert spread_of("cores", {0, 4}, tmp_path) == "2"
    assert spread_of("3", {0, 1, 2}, tmp_path) == "3"


@pytest.mark.parametrize("value", ["socket", "cores", "9"])
def test_processors_that_are_all_or_too_many_are_refused(value: str, tmp_path: Path) -> None:
    usable = machine(tmp_path, sockets=1, cores=2, threads=1)
    with pytest.raises(StepbenchError, match="processors"):
        processors_of(value, tmp_path, usable)


def test_allocators_are_found_where_distributions_put_them(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("libtcmalloc_minimal.so.4", "libtcmalloc_minimal_debug.so.4", "libjemallocator.so"):
        (folder / name).touch()
    assert library_of("tcmalloc", tmp_path) == folder / "libtcmalloc_minimal.so.4"
    assert is_library_of("tcmalloc", "/x/libtcmalloc_minimal.so.4.5.9")
    with pytest.raises(StepbenchError, match=r"no jemalloc here: install it \(Debian's libjemalloc2\)"):
        library_of("jemalloc", tmp_path)


def test_settings_become_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--mine")
    monkeypatch.setattr(probe, "_found", lambda *_: Path("/lib/libtcmalloc.so.4"))
    asked = {"intra_threads": "1", "onednn": "off", "autocluster": "on", "malloc": "tcmalloc", "env:A": "b c"}
    effect = effect_of(Setting(name, value) for name, value in asked.items())
    assert effect.environment == {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_XLA_FLAGS": "--mine --tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "LD_PRELOAD": "/lib/libtcmalloc.so.4",
        "A": "b c",
    }
    assert effect.processors is None
    assert effect_of([Setting("processors", "1")]).processors == frozenset({min(os.sched_getaffinity(0))})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([Setting("tf32", "off")], "one of GPUs"),
        ([Setting("env:TMPDIR", "/x")], "set by stepbench itself"),
        ([Setting("env:TF_ENABLE_ONEDNN_OPTS", "1"), Setting("onednn", "off")], "both set TF_ENABLE_ONEDNN_OPTS"),
        ([Setting("processors", "99999")], "processors cannot be 99999"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(asked: list[Setting], why: str) -> None:
    with pytest.raises(StepbenchError, match=why):
        check_settings(asked, [Device.CPU])


def test_a_usual_value_that_the_environment_contradicts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with pytest.raises(StepbenchError, match="onednn=on contradicts"):
        check_settings([Setting("onednn", "on")], [Device.CPU])
