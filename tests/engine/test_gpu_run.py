from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stepbench.probes.gpu import read_gpus

STEPBENCH = Path(sys.executable).with_name("stepbench")
pytestmark = [pytest.mark.tensorflow, pytest.mark.gpu, pytest.mark.skipif(not read_gpus(), reason="there is no GPU")]


def test_every_default_variant_runs_and_is_proved_on_a_gpu(tmp_path: Path) -> None:
    finished = subprocess.run(
        [STEPBENCH, "run", "--device", "gpu", "--data", "synthetic", "--replicates", "2", "--rounds", "2",
         "--no-verify", "--format", "json", "--results", str(tmp_path)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    cases = json.loads(finished.stdout)["cases"]
    assert len(cases) == 9
    assert {case["device"] for case in cases} == {"gpu"}
    assert all(case["peak_memory_bytes"] > 0 for case in cases)
