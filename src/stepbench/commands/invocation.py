"""How this process was called."""

from __future__ import annotations

import sys
from pathlib import Path


def command_line() -> tuple[str, ...]:
    """The command that is being run, its program without the folder."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and Path(sys.argv[0]).name == "__main__.py":
        return ("python", "-m", spec.parent, *sys.argv[1:])
    return (Path(sys.argv[0]).name, *sys.argv[1:])
