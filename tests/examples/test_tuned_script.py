"""README's way to the fastest step: a script tuned in one command, and run again with the lines that were told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import places
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SCRIPT = places.ROOT / "examples/plain_script.py"
TOLD = """
print("policy", keras.config.dtype_policy().name, "threads", os.environ.get("TF_NUM_INTRAOP_THREADS"))
"""


def pasted(source: str, lines: list[str]) -> str:
    """The script with the lines put where they say that they belong."""
    for line in lines:
        if line.startswith("model.compile(..., "):
            given = line.removeprefix("model.compile(..., ").partition(")")[0]
            source = source.replace("model.compile(", f"model.compile({given}, ")
        else:
            source = source.replace("\nLENGTH,", f"\n{line}\nLENGTH,")
    return f"import os\n{source.replace('from __future__ import annotations', '')}{TOLD}"


def test_a_script_runs_with_the_lines_that_were_told(tmp_path: Path) -> None:
    asked = ["--workload", str(SCRIPT), "--execution", "graph", "--precision", "mixed_bfloat16", "--format", "json"]
    asked += ["--steps-per-call", "5", "--fix", "intra_threads=1", "--budget", "60s"]
    command = [str(Path(sys.executable).with_name("stepbench")), "tune", *asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode in {0, 3}, done.stderr
    found = json.loads(done.stdout)
    assert found["default"]["id"] == "plain_script/keras/float32/cpu/b64/intra_threads=1"
    assert found["winner"]["id"].endswith("/intra_threads=1")
    lines = found["apply"]["python"].splitlines()
    script = tmp_path / "pasted.py"
    script.write_text(pasted(SCRIPT.read_text(), lines))
    again = subprocess.run(
        [sys.executable, str(script), "--epochs", "1"],
        env={**os.environ, **found["apply"]["env"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    precision = found["winner"]["id"].split("/")[2]
    assert f"policy {precision} threads 1" in again.stdout
