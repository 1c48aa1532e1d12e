from __future__ import annotations

from pathlib import Path

import pytest

from stepbench.probes.memory import memory_left

MIB = 2**20
"""So little that this machine has more."""

V2 = ("sys/fs/cgroup", "0::/slice/job\n", "memory.max", "memory.current", "inactive_file")
V1 = (
    *("sys/fs/cgroup/memory", "4:memory:/slice/job\n"),
    *("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@pytest.mark.parametrize(("mount", "group", "limit", "used", "cached"), [V2, V1], ids=["v2", "v1"])
def test_the_tightest_group_around_this_process_counts(
    mount: str, group: str, limit: str, used: str, cached: str, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    job = tmp_path / mount / "slice" / "job"
    job.mkdir(parents=True)
    for folder, most, taken, idle in ((job, 8, 3, 1), (job.parent, 10, 9, 2)):
        (folder / limit).write_text(f"{most * MIB}\n")
        (folder / used).write_text(f"{taken * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{cached} {idle * MIB}\n")
    # The job has least in all; of the slice, which others use too, least is left.
    assert memory_left(tmp_path) == (3 * MIB, 8 * MIB)
    (job.parent / limit).write_text("max\n")
    assert memory_left(tmp_path) == (6 * MIB, 8 * MIB)
    (job / used).unlink()
    assert memory_left(tmp_path)[1] > 8 * MIB, "nothing is known of it"
