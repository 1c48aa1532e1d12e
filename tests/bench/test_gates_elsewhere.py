from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest
from gates_elsewhere import next_up, read, table
from regression_tools import Comparison, read_row
from step_repository import StepRepository

from stepbench.errors import StepbenchError

HEAD = """
All benchmarks:

| Change   | Before [9dfd1b36] <main~3>   | After [d2e0a4a1] <main>   | Ratio   | Benchmark (Parameter)     |
|----------|------------------------------|---------------------------|---------|---------------------------|
"""


def make_comparison(slowdown: float = 0.0, *, called: bool = False, machine: str = "here") -> Comparison:
    return Comparison(
        machine=machine, tool="a tool", slowdown=slowdown, ratio=1.02, called={"a check": called}, seconds=14.0
    )


@dataclass
class Tool:
    name: str

    def compare(self, slowdown: float) -> Sequence[Comparison]:
        return [make_comparison(slowdown)]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> StepRepository:
    return StepRepository(tmp_path_factory.mktemp("scratch"), (0.0, 0.05))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("| +        | 8.51±0.1ms        | 9.21±0.2ms        |    1.08 | b.Step.time_step |", (True, 1.08)),
        ("|          | 8.51±0.1ms        | 8.52±0.2ms        |       1 | b.Step.time_step |", (False, 1.0)),
        ("|          | 8.51±0.1ms        | 9.21±2ms          | ~1.08   | b.Step.time_step |", (False, 1.08)),
        ("| -        | 9.21±0.1ms        | 8.51±0.2ms        |    0.92 | b.Step.time_step |", (False, 0.92)),
    ],
)
def test_asvs_row_says_whether_head_is_slower_and_by_how_much(row: str, expected: tuple[bool, float]) -> None:
    assert read_row(f"{HEAD}{row}\n") == expected


@pytest.mark.parametrize(
    "row",
    [
        "",
        "| !        | 8.51±0.1ms                   | failed                    | n/a     | b.Step.time_step |",
        "| x        | 8.51±0.1ms                   | 9.21±0.2ms                | 1.08    | b.Step.time_step |",
    ],
)
def test_a_failed_benchmark_is_no_verdict(row: str) -> None:
    with pytest.raises(StepbenchError, match="no comparison"):
        read_row(f"{HEAD}{row}\n")


def test_a_failure_is_a_finding_only_if_the_tool_says_so(repository: StepRepository) -> None:
    assert not repository.run(("sh", "-c", "echo faster"), "slower").found
    assert repository.run(("sh", "-c", "echo slower; exit 1"), "slower").found
    with pytest.raises(StepbenchError, match="no such test"):
        repository.run(("sh", "-c", "echo no such test; exit 1"), "slower")


def test_no_process_outlives_the_command_that_started_it(repository: StepRepository) -> None:
    # With job control the shell puts what it starts into a group of its own, as asv does.
    started = repository.run(("bash", "-c", "set -m; sleep 600 >/dev/null 2>&1 & echo $!")).text
    assert not psutil.pid_exists(int(started)) or psutil.Process(int(started)).status() == psutil.STATUS_ZOMBIE


def test_commits_differ_in_the_planted_slowdown_only(repository: StepRepository) -> None:
    assert not repository.git("diff", repository.base, repository.heads[0.0])
    changed = repository.git("diff", "--unified=0", repository.base, repository.heads[0.05]).splitlines()
    assert [line for line in changed[4:] if line[0] in "+-"] == ["-SLOWDOWN = 0.0", "+SLOWDOWN = 0.05"]


def test_the_least_compared_comes_next() -> None:
    tools = Tool("a tool"), Tool("another")
    assert next_up([], tools) == (tools[0], 0.0)
    assert next_up([make_comparison(0.0)], tools) == (tools[0], 0.03)
    assert next_up([make_comparison(slowdown) for slowdown in (0.0, 0.03, 0.05)], tools) == (tools[1], 0.0)


def test_the_table_counts_regressions_of_each_check_and_slowdown() -> None:
    found = [make_comparison(), *(make_comparison(0.05, called=called) for called in (True, True, False, True))]
    assert table(found).splitlines()[2:] == [
        "| a tool, a check | nothing | 1 | 0 | 0% [0%, 98%] | 1.020 |  | 14 s |",
        "| a tool, a check | +5% | 4 | 3 | 75% [19%, 99%] | 1.020 | 0.000 | 14 s |",
    ]


def test_what_is_kept_is_read_again_on_the_same_machine_only(tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    assert read(output, "here") == []
    output.write_bytes(b"".join(msgspec.json.encode(make_comparison(share)) + b"\n" for share in (0.0, 0.03)))
    assert read(output, "here") == [make_comparison(0.0), make_comparison(0.03)]
    with pytest.raises(StepbenchError, match="another machine"):
        read(output, "there")


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    output.write_text("a line of somebody's\n")
    with pytest.raises(StepbenchError, match="name another file"):
        read(output, "here")
