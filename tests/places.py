"""Where the tests find what they start: this checkout and the workloads beside it."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"
RESULTS = ROOT / "results"
WORKLOADS = TESTS / "workloads"
TINY = WORKLOADS / "tiny.py"
SLOWED = WORKLOADS / "slowed.py"
FAULTY = WORKLOADS / "faulty.py"
