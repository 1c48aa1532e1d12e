"""How often the usual regression checks are right here, on the step and the planted slowdowns of 'stepbench calibrate'.

Run: python bench/gates_elsewhere.py [--budget 30m] [--output FILE] (goes on with FILE; asv comes with the extra dev)

pytest-benchmark: ``benchmark(step)``, warmed up, calibrated as by default (a second of rounds), each run in a fresh
process. A head run is compared with the base run just before it, a base run with the last one, at most a minute ago:
kinder than in use, where base was measured hours ago or on another day. asv: ``continuous BASE HEAD`` as it is: each
commit in two processes, in turn, five samples in each, judged by a factor of 1.1 and a test of Mann and Whitney; ``asv
compare`` judges the same samples by a factor of 1.05.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from regression_tools import Asv, Comparison, PytestBenchmark
from step_repository import StepRepository

from stepbench.commands.options import duration
from stepbench.errors import StepbenchError
from stepbench.judge.calibrate import share
from stepbench.probes.environment import collect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regression_tools import Tool

SLOWDOWNS = (0.0, 0.03, 0.05)
HEADS = ("check", "planted", "comparisons", "regressions", "share, 95 %", "median ratio", "spread", "takes")


def read(output: Path, machine: str) -> list[Comparison]:
    """The comparisons of earlier.

    Raises:
        StepbenchError: when they are none, or another machine's.
    """
    lines = output.read_bytes().splitlines() if output.exists() else []
    try:
        found = [msgspec.json.decode(line, type=Comparison) for line in lines]
    except msgspec.MsgspecError as error:
        raise StepbenchError(f"{output} holds something else than comparisons ({error}): name another file.") from None
    if any(comparison.machine != machine for comparison in found):
        raise StepbenchError(f"{output} is of another machine, where checks err otherwise: name another file.")
    return found


def measure(found: list[Comparison], output: Path, machine: str, budget_s: float) -> None:
    """Compare in turn until the budget is spent, and keep each comparison at once."""
    ends = time.monotonic() + budget_s
    longest = max((comparison.seconds for comparison in found), default=0.0)
    if longest > budget_s:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stepbench-elsewhere-") as folder, output.open("ab") as file:
        tools = list(_tools(StepRepository(Path(folder), SLOWDOWNS), machine))
        while time.monotonic() + longest < ends:
            tool, slowdown = next_up(found, tools)
            for comparison in tool.compare(slowdown):
                file.write(msgspec.json.encode(comparison) + b"\n")
                file.flush()
                found.append(comparison)
                longest = max(longest, comparison.seconds)
                sys.stdout.write(f"{comparison.tool}, {_planted(comparison.slowdown)}: {comparison.called}\n")
                sys.stdout.flush()


def _tools(repository: StepRepository, machine: str) -> Iterator[Tool]:
    yield PytestBenchmark(repository, machine)
    if importlib.util.find_spec("asv"):
        yield Asv(repository, machine)
    else:
        sys.stdout.write("asv is left out, since it is not installed: install the extra 'stepbench[dev]'.\n")


def next_up(found: Sequence[Comparison], tools: Sequence[Tool]) -> tuple[Tool, float]:
    """The tool and the slowdown of which there are fewest comparisons so far."""
    done = [(comparison.tool, comparison.slowdown) for comparison in found]
    every = [(tool, slowdown) for tool in tools for slowdown in SLOWDOWNS]
    return min(every, key=lambda each: done.count((each[0].name, each[1])))


def table(found: Sequence[Comparison]) -> str:
    """A row for each check and slowdown, in markdown."""
    groups: defaultdict[tuple[str, float], list[tuple[bool, Comparison]]] = defaultdict(list)
    for comparison in found:
        for check, called in comparison.called.items():
            groups[f"{comparison.tool}, {check}", comparison.slowdown].append((called, comparison))
    rows = [HEADS, ("--",) + ("--:",) * (len(HEADS) - 1), *(_cells(*key, groups[key]) for key in sorted(groups))]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(check: str, slowdown: float, judged: Sequence[tuple[bool, Comparison]]) -> tuple[str, ...]:
    called = sum(regression for regression, _ in judged)
    found = share(called, len(judged))
    ratios = [comparison.ratio for _, comparison in judged]
    spread = f"{statistics.stdev(ratios):.3f}" if len(ratios) > 1 else ""
    seconds = statistics.fmean(comparison.seconds for _, comparison in judged)
    interval = f"[{found.low or 0:.0%}, {found.high or 0:.0%}]"
    counts = (str(len(judged)), str(called), f"{found.value:.0%} {interval}")
    return (check, _planted(slowdown), *counts, f"{statistics.median(ratios):.3f}", spread, f"{seconds:.0f} s")


def _planted(slowdown: float) -> str:
    return f"{slowdown:+.0%}" if slowdown else "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="30m", help="About how long to compare; 1s prints what FILE holds.")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=Path("results/gates-elsewhere.jsonl"),
        help="JSON lines; what it holds is gone on with.",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = collect().fingerprint
    found: list[Comparison] = []
    code = 0
    try:
        found += read(given.output, machine)
        measure(found, given.output, machine, duration("--budget", given.budget))
    except StepbenchError as error:
        sys.stderr.write(f"{error}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted; the same command goes on with {given.output}.\n")
        code = 128 + signal.SIGINT
    sys.stdout.write(table(found))
    return code


if __name__ == "__main__":
    sys.exit(main())
