"""What the doctor finds."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stepbench.records.machine import GIB


class Severity(StrEnum):
    """What a finding means for results, the gravest first."""

    SPOILS = "spoils"
    """They would be wrong, not this machine's own, or lost."""
    HINDERS = "hinders"
    """They are true, but noisier or slower than they need be, or hold under a special setting only."""
    LACKS = "lacks"
    """Something cannot be measured or shown; the rest can."""
    FINE = "fine"
    """Looked at, and good."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that helps or spoils measurements. Sentences without a full stop."""

    severity: Severity
    area: str
    """What it is about, in a word or two."""
    what: str
    remedy: str | None
    """What to do about it; ``None`` when nothing needs to be done."""


def spoils(area: str, what: str, remedy: str) -> Finding:
    """A finding that makes results untrustworthy."""
    return Finding(Severity.SPOILS, area, what, remedy)


def hinders(area: str, what: str, remedy: str) -> Finding:
    """A finding that makes results worse than they need be."""
    return Finding(Severity.HINDERS, area, what, remedy)


def lacks(area: str, what: str, remedy: str) -> Finding:
    """A finding that leaves some results out."""
    return Finding(Severity.LACKS, area, what, remedy)


def fine(area: str, what: str) -> Finding:
    """A finding that nothing needs to be done about."""
    return Finding(Severity.FINE, area, what, None)


def size(value: int) -> str:
    """Bytes for people."""
    return f"{value / GIB:.1f} GiB" if value >= GIB else f"{value / 2**20:.0f} MiB"
