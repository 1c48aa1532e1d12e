"""How often level 1 calls an innocent variant different: other executions, other seeds, other numbers of threads.

Run: STEPBENCH_DATA=... python bench/false_alarms.py (about ten minutes on two cores)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
EXECUTIONS = "graph,xla,keras"
SETTINGS: tuple[tuple[int, dict[str, str]], ...] = (
    *((seed, {}) for seed in range(1, 6)),
    (0, {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}),
    (0, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
)


def judge(seed: int, environment: dict[str, str]) -> list[dict[str, dict[str, str]]]:
    """The verdicts of level 1 alone."""
    with tempfile.TemporaryDirectory() as results:
        command = [STEPBENCH, "verify", "--execution", EXECUTIONS, "--seeds", "0", "--seed", str(seed)]
        finished = subprocess.run(
            [*command, "--results", results, "--format", "json"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        cases: list[dict[str, dict[str, str]]] = json.loads(finished.stdout)["cases"]
        return cases


def main() -> None:
    judged = different = 0
    for seed, environment in SETTINGS:
        for case in judge(seed, environment):
            verdict = case["equivalence"]["verdict"]
            judged += verdict != "not_checked"
            different += verdict == "different"
            if verdict == "different":
                sys.stdout.write(f"{case['id']}: {case['equivalence']['why']}\n")
        sys.stdout.write(f"seed {seed}, {environment or 'as it is'}: {different} of {judged} so far are different\n")
        sys.stdout.flush()
    # The rule of three: what is not seen in n trials is rarer than 3 / n, with 95 % confidence.
    sys.stdout.write(f"{different} false alarms in {judged} judgements; at most {max(3, different) / judged:.1%}\n")


if __name__ == "__main__":
    main()
