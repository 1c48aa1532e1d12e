"""Inside a worker: is it this revision's code that was imported, not another's?"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from stepbench.errors import StepbenchError


def check_origins(root: Path, elsewhere: Path, script: Path | None = None) -> None:
    """Refuse what is not of this revision: nothing imported from it, or a module from elsewhere that it has too.

    The latter is what an editable installation does. What ``elsewhere`` alone has, such as files that git ignores, is
    the same for every revision.

    Args:
        root: the folder of the revision that is to be measured.
        elsewhere: that of another one.
        script: that was run, which is no module.

    Raises:
        StepbenchError: when it is so.
    """
    places = {name: place for name, module in sorted(sys.modules.items()) if (place := _place(module))}
    if script is not None:
        places[script.name] = script.resolve()
    if not any(place.is_relative_to(root) for place in places.values()):
        raise StepbenchError("Nothing of this revision is imported: name a workload or plugin that lies in it.")
    for name, place in places.items():
        if place.is_relative_to(elsewhere) and (root / place.relative_to(elsewhere)).exists():
            raise StepbenchError(
                f"{name} is imported from {place}, which is another revision: have the workload's file put the folder "
                "that holds it, found from __file__, first on sys.path."
            )


def imported_from(root: Path, script: Path | None = None) -> tuple[str, ...]:
    """The files below ``root`` that were imported, or run as the script, as paths from there."""
    places = {_place(module) for module in list(sys.modules.values())} | {script and script.resolve()}
    return tuple(sorted(place.relative_to(root).as_posix() for place in places if place and place.is_relative_to(root)))


def _place(module: ModuleType | None) -> Path | None:
    file = vars(module).get("__file__") if module else None  # Asking a lazy module itself would load it.
    return Path(file).resolve() if isinstance(file, str) else None
