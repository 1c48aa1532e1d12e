"""What helps and what spoils measurements on a machine: judged from what was found out about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from stepbench.judge import doctor_gpu as rules_gpu
from stepbench.judge import doctor_host as rules_host
from stepbench.judge import doctor_tensorflow as rules_tensorflow
from stepbench.judge.finding import Finding, Severity
from stepbench.records.doctor import DoctorFacts
from stepbench.records.machine import Environment

RULES: tuple[Callable[[DoctorFacts], Iterator[Finding]], ...] = (
    rules_tensorflow.start,
    rules_tensorflow.software,
    rules_tensorflow.threads,
    rules_tensorflow.onednn,
    rules_tensorflow.xla_flags,
    rules_tensorflow.settings,
    rules_host.others,
    rules_host.steal,
    rules_host.frequency,
    rules_host.processors,
    rules_host.precisions,
    rules_host.memory,
    rules_host.disk,
    rules_host.data,
    rules_gpu.visibility,
    rules_gpu.compatibility,
    rules_gpu.precisions,
    rules_gpu.state,
    rules_gpu.profiling,
)


class DoctorVerdict(StrEnum):
    """Whether results can be trusted here."""

    FIT = "fit"
    HINDERED = "hindered"
    SPOILED = "spoiled"


class DoctorJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """All findings about a machine, the gravest first."""

    schema: int = 1
    verdict: DoctorVerdict
    findings: tuple[Finding, ...]
    environment: Environment

    def count(self, severity: Severity) -> int:
        """How many findings are of one severity."""
        return sum(finding.severity is severity for finding in self.findings)


def judge_doctor(found: DoctorFacts) -> DoctorJudgement:
    """Apply every rule."""
    order = tuple(Severity)
    findings = sorted(
        (finding for rule in RULES for finding in rule(found)), key=lambda finding: order.index(finding.severity)
    )
    return DoctorJudgement(verdict=_verdict(findings), findings=tuple(findings), environment=found.environment)


def _verdict(findings: list[Finding]) -> DoctorVerdict:
    severities = {finding.severity for finding in findings}
    if Severity.SPOILS in severities:
        return DoctorVerdict.SPOILED
    return DoctorVerdict.HINDERED if Severity.HINDERS in severities else DoctorVerdict.FIT
