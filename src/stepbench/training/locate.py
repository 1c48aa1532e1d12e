"""How a workload is found by name: built in, in a module, in a file, or as a training script."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType

from stepbench.errors import StepbenchError
from stepbench.training.script import Script
from stepbench.training.workload import BUILT_IN_WORKLOADS, Training, Workload

Locatable = Workload | Training | Script


def load_workload(locator: str) -> Locatable:
    """The workload that ``locator`` names.

    Args:
        locator: a built-in name, ``package.module:attribute``, ``path/to/file.py:attribute``, or a training script with
            its arguments, as a shell takes them; the attribute is a :class:`Workload`, a :class:`Training`, or a
            callable without arguments that returns one.

    Raises:
        StepbenchError: when it is not found, does not import or is of the wrong type.
    """
    target = BUILT_IN_WORKLOADS.get(locator, locator)
    if is_script(target):
        path, *arguments = shlex.split(target)
        return Script(Path(path), tuple(arguments))
    module_name, colon, attribute = target.rpartition(":")
    if not colon or not module_name or not attribute:
        known = ", ".join(BUILT_IN_WORKLOADS)
        raise StepbenchError(
            f"There is no workload {locator!r}: use {known}, 'package.module:attribute', 'path/to/file.py:attribute' "
            "or 'path/to/script.py'."
        )
    module = import_user_module(module_name)
    if not hasattr(module, attribute):
        raise StepbenchError(f"{module_name} has no attribute {attribute!r}: name the workload it defines.")
    found = getattr(module, attribute)
    workload = found if isinstance(found, Workload | Training) else _called(found, locator)
    if not isinstance(workload, Workload | Training):
        raise StepbenchError(
            f"{locator} is a {type(workload).__name__}: it must be a stepbench.Workload, a stepbench.Training or a "
            "callable that returns one."
        )
    return workload


def is_script(locator: str) -> bool:
    """Whether it names a training script, not an attribute of a module or a file."""
    words = [] if ".py:" in locator else shlex.split(locator)
    return bool(words) and words[0].endswith(".py")


def script_of(locator: str) -> Path | None:
    """The file of a training script; None for another kind of workload."""
    return Path(shlex.split(locator)[0]) if is_script(locator) else None


def _called(factory: object, locator: str) -> object:
    if not callable(factory):
        return factory
    try:
        return factory()
    except StepbenchError:
        raise
    except Exception as error:
        raise StepbenchError(f"Calling {locator} raised {type(error).__name__}: {error}.") from error


def import_user_module(name: str) -> ModuleType:
    """Import a module of the user's, by dotted name (the working folder counts) or by the path of its file.

    Raises:
        StepbenchError: when there is none or it raises.
    """
    try:
        return _import_file(Path(name)) if name.endswith(".py") else _import_name(name)
    except StepbenchError:
        raise
    except Exception as error:
        raise StepbenchError(f"Importing {name} raised {type(error).__name__}: {error}.") from error


def _import_name(name: str) -> ModuleType:
    working_folder = str(Path.cwd())
    if working_folder not in sys.path:
        sys.path.insert(0, working_folder)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise StepbenchError(f"There is no file {path}: give the path of the Python file that defines it.")
    # Files that lie beside it are its own to import, as they are for a script.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    # Found again above, even where two files have one name.
    name = path.stem if path.stem not in sys.modules else str(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, "a .py file always has a spec"
    assert spec.loader, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
