"""Numbers as stored files may hold them: what reckons with them need not look again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Duration = Annotated[float, Meta(ge=1e-9, le=1e9)]
"""Seconds of something that takes time, so that ratios and logarithms can be taken."""
Amount = Annotated[float, Meta(ge=0, le=1e30)]
"""Of operations, bytes or joules."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]
Fraction = Annotated[float, Meta(ge=-1, le=100)]
"""A share of something."""
