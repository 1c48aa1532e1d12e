"""How long the commands take that need no TensorFlow, and that they do not import it.

Run: python bench/startup.py (after a run; --help and report are timed in turn)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 20
COMMANDS: tuple[tuple[str, ...], ...] = (("--help",), ("report",), ("report", "--format", "json"))
STEPBENCH = Path(sys.executable).with_name("stepbench")


def seconds(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([STEPBENCH, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def imported(arguments: tuple[str, ...]) -> set[str]:
    """The packages that a command imports."""
    command = [sys.executable, "-X", "importtime", str(STEPBENCH), *arguments]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in log.splitlines() if "|" in line}


def main() -> None:
    times: dict[tuple[str, ...], list[float]] = {command: [] for command in COMMANDS}
    for _ in range(REPEATS):
        for command in COMMANDS:
            times[command].append(seconds(command))
    for command, taken in times.items():
        heavy = imported(command) & {"tensorflow", "keras", "numpy", "scipy"}
        sys.stdout.write(
            f"stepbench {' '.join(command)}: median {statistics.median(taken):.3f} s, "
            f"{min(taken):.3f} to {max(taken):.3f} s; heavy imports: {', '.join(heavy) or 'none'}\n"
        )


if __name__ == "__main__":
    main()
