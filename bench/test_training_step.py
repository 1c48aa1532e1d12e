"""The default matrix: 3 executions × 3 precisions on every device present, batch 64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stepbench.report.case_summary import CaseSummary

pytestmark = pytest.mark.stepbench


def test_training_step(measured_step: CaseSummary) -> None:
    assert measured_step.throughput is not None


def test_convergence(verified_step: CaseSummary) -> None:
    assert verified_step.equivalence.verdict == "equivalent"
