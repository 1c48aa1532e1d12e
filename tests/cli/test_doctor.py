"""`stepbench doctor` on this machine, with spoilers planted in it as they come about in practice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import places
import pytest

pytestmark = pytest.mark.tensorflow

PLUGIN, NEEDED = "tensorboard_plugin_profile", "needs tensorboard-plugin-profile"
SETTINGS = ("TF_", "XLA_", "OMP_", "CUDA_", "NVIDIA_", "STEPBENCH_", "PYTHONPATH")
SMALL_DISK = 2**16
THREADS, ONEDNN, XLA = "TF_NUM_INTRAOP_THREADS", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS"


@dataclass(frozen=True)
class Outcome:
    """What the command said."""

    exit_code: int
    printed: str
    errors: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.printed)
        return found

    def about(self, area: str) -> dict[str, str]:
        """Severity by what was found."""
        return {row["what"]: row["severity"] for row in self.told["findings"] if row["area"] == area}


def run_doctor(*arguments: str | Path, packages: Path | None = None, **variables: str) -> Outcome:
    """The command in a process of its own, which sees ``packages`` instead of what is installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    source = str(places.ROOT / "src")
    path = [source, str(packages)] if packages else [source]
    isolation = ["-S"] if packages else []  # Without the folder that holds everything.
    done = subprocess.run(
        [sys.executable, *isolation, "-m", "stepbench.cli", "doctor", "--format", "json", *map(str, arguments)],
        env={**environment, "PYTHONPATH": os.pathsep.join(path), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that is installed, but for TensorBoard's profile plugin."""
    folder = tmp_path_factory.mktemp("packages")
    installed = Path(pytest.__file__).parents[1]
    for entry in installed.iterdir():
        if not entry.name.startswith(PLUGIN):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A file system without room, where one may be mounted."""
    place = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        with (place / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, SMALL_DISK)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def spoiled(packages: Path, full_disk: Path | None) -> Iterator[Outcome]:
    """What the doctor says with every spoiler planted at once."""
    results = ("--results", full_disk / "results") if full_disk else ()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        try:
            yield run_doctor(
                *results,
                packages=packages,
                **{THREADS: "1", ONEDNN: "0", XLA: "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
                STEPBENCH_DATA="nowhere",
            )
        finally:
            spinner.kill()


@pytest.fixture(scope="module")
def innocent() -> Outcome:
    return run_doctor(PYTHONPROFILEIMPORTTIME="1")


def test_spoilers_make_results_untrustworthy_and_the_gravest_come_first(spoiled: Outcome) -> None:
    assert spoiled.exit_code == 1, spoiled.errors
    assert spoiled.errors == ""
    assert spoiled.told["verdict"] == "spoiled"
    assert spoiled.told["schema"] == 1
    order = ["spoils", "hinders", "lacks", "fine"]
    severities = [order.index(row["severity"]) for row in spoiled.told["findings"]]
    assert severities == sorted(severities)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one thread is all that one processor can run")
def test_threads_forced_to_1_are_found(spoiled: Outcome) -> None:
    (what,) = (what for what, severity in spoiled.about("threads").items() if severity == "spoils")
    assert what.startswith(f"{THREADS}=1: TensorFlow lets 1 thread share an operation")


def test_onednn_switched_off_is_found(spoiled: Outcome, innocent: Outcome) -> None:
    (what,) = spoiled.about("oneDNN")
    usual = "it is on, as TensorFlow has it on this CPU" in innocent.about("oneDNN")
    assert what.startswith(f"{ONEDNN}=0 switches oneDNN off" if usual else "it is off")


def test_a_busy_processor_a_missing_plugin_unasked_xla_and_wrong_data_are_found(spoiled: Outcome) -> None:
    ((what, severity),) = spoiled.about("load").items()
    assert severity == "spoils"
    assert "python" in what
    (severity,) = (severity for what, severity in spoiled.about("software").items() if NEEDED in what)
    assert severity == "spoils"
    assert spoiled.about("XLA flags") == {f"{XLA} has XLA compile graphs unasked: graph cases would be XLA's": "spoils"}
    assert set(spoiled.about("data").values()) == {"spoils"}


def test_the_full_disk_is_found(spoiled: Outcome, full_disk: Path | None) -> None:
    if full_disk is None:
        pytest.skip("no file system can be mounted here")
    ((what, severity),) = spoiled.about("disk").items()
    assert severity == "spoils"
    assert what.startswith(f"0 MiB are free in {full_disk / 'results'}")


@pytest.mark.parametrize("area", ["TensorFlow", "software", "threads", "oneDNN", "XLA flags"])
def test_what_is_not_planted_is_not_found(innocent: Outcome, area: str) -> None:
    assert set(innocent.about(area).values()) == {"fine"}


def test_tensorflow_is_loaded_in_the_worker_alone(innocent: Outcome) -> None:
    lines = [line for line in innocent.errors.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert imported >= {"stepbench", "psutil"}
    assert not imported & {"tensorflow", "keras", "tensorboard", "xprof"}
