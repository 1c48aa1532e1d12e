"""The command line called in the test's own process."""

from __future__ import annotations

from collections.abc import Callable

Invoke = Callable[..., tuple[int, str, str]]
"""Gives exit code, output and error output."""
