"""Outside the workers: all that the doctor judges this machine by. Nothing here raises or writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from stepbench.engine.asking import ask_once
from stepbench.engine.worker import KEPT_FREE, Surroundings, WorkerError
from stepbench.errors import StepbenchError
from stepbench.probes.environment import collect
from stepbench.probes.gpu import read_driver
from stepbench.probes.hardware import clean
from stepbench.probes.load import watch_load
from stepbench.probes.memory import memory_left
from stepbench.probes.noise import noise_between, read_noise
from stepbench.probes.requirements import read_misfits
from stepbench.records.doctor import Data, Disk, DoctorFacts, TensorFlowFacts
from stepbench.records.progress import Progress, Tell, untold
from stepbench.records.protocol import Examine
from stepbench.training.data import resolve_source

_LOGGED = {"TF_CPP_VMODULE": "device_compiler=1,dso_loader=1"}
"""Has TensorFlow log what XLA compiles and which shared libraries it does not find."""


def look(results: Path, tell: Tell = untold) -> DoctorFacts:
    """Look at this machine, at what is installed, and at the file system of ``results``; takes some 6 s."""
    tell(Progress(0, 0, "looking at the machine and starting a worker"))
    environment, (available, limit) = collect(), memory_left()
    load = watch_load()  # Before the worker, which is a load itself.
    before = read_noise()
    facts, failure = ask_tensorflow()
    # A hypervisor takes time from those that compute, as a starting worker does.
    noise = noise_between(before, read_noise())
    return DoctorFacts(
        environment=environment,
        load=msgspec.structs.replace(load, steal_share=noise.steal_share),
        memory_left_bytes=available - int(KEPT_FREE * limit),
        disk=read_disk(results),
        data=read_data(),
        driver=read_driver(),
        misfits=read_misfits(),
        tensorflow=facts,
        tensorflow_failure=failure,
    )


def ask_tensorflow() -> tuple[TensorFlowFacts | None, str | None]:
    """What a worker says of TensorFlow, or why it says nothing."""
    try:
        with tempfile.TemporaryDirectory(prefix="stepbench-") as logs:
            return ask_once(Examine(), Path(logs) / "doctor.log", Surroundings(_LOGGED)).facts, None
    except WorkerError as error:
        return None, error.failure.message
    except (StepbenchError, OSError) as error:
        return None, str(error)


def read_disk(folder: Path) -> Disk:
    """The file system of ``folder``, or of the folder that it would be made in."""
    name = clean(str(folder))
    try:
        place = folder.absolute()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return Disk(folder=name, problem=f"{clean(str(place))} is no folder")
        if not os.access(place, os.W_OK | os.X_OK):
            return Disk(folder=name, problem=f"{clean(str(place))} may not be written")
        found = os.statvfs(place)
    except OSError as error:
        return Disk(folder=name, problem=error.strerror or str(error))
    # Some file systems hold any number of files, and say 0.
    return Disk(
        folder=name,
        free_bytes=found.f_bavail * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
    )


def read_data() -> Data:
    """What ``--data auto`` would take."""
    try:
        source = resolve_source("auto")
    except StepbenchError as error:
        return Data(problem=clean(str(error)))
    return Data(name=source.name, folder=clean(str(source.folder)) if source.folder else None)
