"""Pages on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from stepbench.errors import StepbenchError

REPORT_FILE = "report.html"
"""The page of a run or a gate, in its folder."""


def write_page(page: str, path: Path) -> None:
    """Write a page whole, or leave the one that is there.

    Raises:
        StepbenchError: when it cannot be written.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        try:
            draft.write_text(page, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StepbenchError(
            f"{path} cannot be written ({error.strerror}): choose another place with --output."
        ) from error


def leave_page(draw: Callable[[], str], path: Path) -> None:
    """Draw and write the page that lies beside what it shows, which stands whatever goes wrong with the page."""
    try:
        write_page(draw(), path)
    except Exception as error:  # noqa: BLE001 - as said above.
        why = f"stepbench: {path} was not written ({type(error).__name__}: {error}), but all that was measured was."
        sys.stderr.write(f"{' '.join(why.split())}\n")
