"""Inside a worker: the settings that take TensorFlow to be made, and what is really found of each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

# A private part of TensorFlow: nothing public says whether oneDNN's kernels are in use.
from tensorflow.python.util import _pywrap_util_port

from stepbench.probes.hardware import ROOT
from stepbench.probes.settings import CLUSTERING, VARIABLES, is_library_of, spread_of
from stepbench.records.settings import (
    AUTOCLUSTER,
    ENVIRONMENT,
    INTER_THREADS,
    INTRA_THREADS,
    OFF,
    ON,
    TF32,
    Setting,
)

NOT_FOUND = ""


def apply_settings(settings: Iterable[Setting]) -> None:
    """Make those settings that the environment cannot; to be called before anything is built."""
    for setting in settings:
        if setting.name == TF32:
            tf.config.experimental.enable_tensor_float_32_execution(setting.value != OFF)


def observed_settings(settings: Iterable[Setting], compilations: int) -> dict[str, str]:
    """What each of these settings is found to be, as :class:`Setting` names values; empty where there is no trace.

    Args:
        settings: those that the case is to have.
        compilations: XLA's so far in this process.
    """
    return {setting.name: _observed(setting, compilations) for setting in settings}


def _observed(setting: Setting, compilations: int) -> str:  # noqa: PLR0911 - one for each setting.
    match setting.name:
        case "intra_threads":
            return _threads(tf.config.threading.get_intra_op_parallelism_threads(), INTRA_THREADS)
        case "inter_threads":
            return _threads(tf.config.threading.get_inter_op_parallelism_threads(), INTER_THREADS)
        case "processors":
            return spread_of(setting.value, os.sched_getaffinity(0))
        case "onednn":
            return ON if _pywrap_util_port.IsMklEnabled() else OFF
        case "autocluster":
            return ON if CLUSTERING in os.environ.get(VARIABLES[AUTOCLUSTER], "") and compilations else OFF
        case "tf32":
            return ON if tf.config.experimental.tensor_float_32_execution_enabled() else OFF
        case "malloc":
            return setting.value if _is_loaded(setting.value) else NOT_FOUND
        case name:
            return os.environ.get(VARIABLES.get(name, name.removeprefix(ENVIRONMENT)), NOT_FOUND)


def _threads(configured: int, name: str) -> str:
    """What TensorFlow was told in code has precedence over the environment."""
    return str(configured or os.environ.get(VARIABLES[name], NOT_FOUND))


def _is_loaded(allocator: str) -> bool:
    lines = (ROOT / "proc/self/maps").read_text().splitlines()
    return any(is_library_of(allocator, Path(line.split()[-1]).name) for line in lines)
