"""Which of many parameters a usual run takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few(*usual: Any, of: Iterable[Any]) -> list[Any]:
    """All parameters, those that are not usual marked as slow: ``make test-slow`` takes them too."""
    every = list(of)
    assert set(usual) <= set(every), "a usual one is none of them"
    return [one if one in usual else _slow(one) for one in every]


def _slow(one: Any) -> Any:
    values = one if isinstance(one, tuple) else (one,)
    return pytest.param(*values, marks=pytest.mark.slow)
