"""How quantities are written for people: three significant digits and a unit that fits."""

from __future__ import annotations

import datetime as dt

from stepbench.judge.statistics import Estimate
from stepbench.records.machine import Environment, Repository

ABSENT = "–"
_SECONDS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "µs", 1e6))
_RATES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def plain(text: str) -> str:
    """``text`` on one line and without control characters, which could steer the reader's terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def verbatim(line: str) -> str:
    """A line as it was typed, blanks and all, without characters that a terminal or a browser obeys."""
    return "".join(character if character.isprintable() else " " for character in line)


def number(value: float) -> str:
    """Three significant digits, all digits of larger whole parts, thousands set apart."""
    if abs(value) >= 100:  # noqa: PLR2004 - three digits.
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:#.3g}".rstrip(".") if value else "0"


def optional(value: float | None, scale: float = 1.0) -> str:
    """A number that may be absent."""
    return ABSENT if value is None else number(value * scale)


def estimate(value: Estimate | None, *, scale: float = 1.0, unit: str = "", interval: bool = True) -> str:
    """``13.4 [12.9, 14.0]``; without the interval where there is none."""
    if value is None:
        return ABSENT
    text = f"{number(value.value * scale)}{unit}"
    if not interval or value.low is None or value.high is None:
        return text
    return f"{text} [{number(value.low * scale)}, {number(value.high * scale)}]"


def ratio(value: Estimate | None) -> str:
    """``1.021 [1.012, 1.030]``: three decimals, as ratios near 1 need."""
    if value is None:
        return ABSENT
    interval = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.value:.3f}{interval}"


def change(value: Estimate | None) -> str:
    """``+5.2 % [+4.8, +5.6]``: by how much a ratio is off 1."""
    if value is None:
        return ABSENT
    interval = "" if value.low is None or value.high is None else f" [{_percent(value.low)}, {_percent(value.high)}]"
    return f"{_percent(value.value)} %{interval}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}"


def seconds(value: float | None) -> str:
    """``480 ms``, ``2.31 s``."""
    if value is None:
        return ABSENT
    unit, factor = next((unit, factor) for least, unit, factor in _SECONDS if abs(value) >= least)
    return f"{number(value * factor)} {unit}"


def steps(value: float) -> str:
    """``1 step``, ``2 000 steps``: at least one."""
    count = max(1, round(value))
    return f"{count:,} step{'s' * (count > 1)}".replace(",", " ")


def moment(value: dt.datetime) -> str:
    """``2026-11-22 12:11``, in UTC as run ids are."""
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M}"


def commit(value: str | None, *, dirty: bool | None) -> str:
    """``1a2b3c4d5e6f``, ``1a2b3c4d5e6f-dirty``."""
    return str(Repository(commit=value, dirty=dirty)) if value else ABSENT


def machine(environment: Environment) -> str:
    """The processor, how much of it may be used, and TensorFlow."""
    cpu, packages = environment.cpu, environment.software.packages
    cores = f"{cpu.usable_cores:g} cores" if cpu.usable_cores else "unknown cores"
    return plain(f"{cpu.model or 'unknown CPU'}, {cores} · TensorFlow {packages.get('tensorflow', '?')}")


def short(fingerprint: str) -> str:
    """As much of a machine's fingerprint as tells a reader machines apart."""
    return fingerprint[:6]


def size(value: float | None) -> str:
    """``134 MiB``, ``1.21 GiB``."""
    if value is None:
        return ABSENT
    for least, unit in _BYTES:
        if value >= least:
            return f"{number(value / least)} {unit}"
    return f"{value:.0f} B"


def rate(value: float, unit: str) -> str:
    """``213 GFLOP/s``, ``4.80 TB/s``."""
    least, prefix = next(((least, prefix) for least, prefix in _RATES if value >= least), (1.0, ""))
    return f"{number(value / least)} {prefix}{unit}/s"


def share(value: float | None) -> str:
    """``12 %``."""
    return ABSENT if value is None else f"{value:.0%}".replace("%", " %")


def open_estimate(found: Estimate | None) -> str:
    """As an estimate, where what lacks an upper bound alone may never come: ``120 [80, never]``."""
    if found is None or found.low is None or found.high is not None:
        return estimate(found)
    return f"{number(found.value)} [{number(found.low)}, never]"
