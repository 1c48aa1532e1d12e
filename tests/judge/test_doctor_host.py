from __future__ import annotations

from typing import Any

import pytest
from doctored import INNOCENT, changed

from stepbench.judge import doctor_host as rules_host
from stepbench.judge.finding import Finding, Severity
from stepbench.records.doctor import BusyProcess
from stepbench.records.machine import GIB

SPOILS, HINDERS, LACKS, FINE = Severity
BUSY = (BusyProcess(17, "encoder", 0.98),)

PLANTED: list[tuple[str, dict[str, Any], Severity, str]] = [
    ("precisions", {"environment__cpu__features": ("avx2", "fma", "avx512_bf16")}, LACKS, "emulates float16"),
    ("precisions", {"environment__cpu__features": ("avx2", "fma", "avx512_fp16")}, LACKS, "emulates bfloat16"),
    ("precisions", {"environment__cpu__features": ("avx512_fp16", "avx512_bf16")}, HINDERS, "lacks AVX2 or FMA"),
    ("frequency", {"environment__cpu__governor": "powersave"}, HINDERS, "governor powersave"),
    ("frequency", {"environment__cpu__turbo": True}, HINDERS, "turbo is on"),
    ("processors", {"load__cores": 1}, HINDERS, "may use 1 of 4"),
    ("processors", {"environment__cpu__quota_cores": 1.5}, HINDERS, "quota grants 1.5 of 4"),
    ("others", {"load__others_cores": 0.98, "load__busiest": BUSY}, SPOILS,
     "use 0.98 of 4 processors: encoder (17) 0.98"),
    ("others", {"load__others_cores": 0.2}, HINDERS, "use 0.20 of 4 processors"),
    ("others", {"load__others_cores": 2.7, "environment__cpu__usable_cores": 2.0}, SPOILS, "use 2.70 of 4 processors"),
    ("others", {"environment__load_average": (6.0, 1.0, 1.0)}, HINDERS, "6.0 processes were ready to run"),
    ("steal", {"load__steal_share": 0.3}, SPOILS, "took 30.0%"),
    ("steal", {"load__steal_share": 0.05}, HINDERS, "took 5.0%"),
    ("memory", {"memory_left_bytes": GIB // 2}, SPOILS, "512 MiB are free"),
    ("memory", {"memory_left_bytes": -5}, SPOILS, "0 MiB are free"),
    ("memory", {"memory_left_bytes": 4 * GIB}, HINDERS, "4.0 GiB are free"),
    ("disk", {"disk__free_bytes": 0}, SPOILS, "0 MiB are free in results, where runs are kept"),
    ("disk", {"disk__free_bytes": 40 * 2**20}, SPOILS, "40 MiB are free"),
    ("disk", {"disk__free_bytes": 500 * 2**20}, HINDERS, "500 MiB are free"),
    ("disk", {"disk__free_files": 3}, SPOILS, "only 3 more files"),
    ("disk", {"disk__problem": "it is read-only"}, SPOILS, "runs cannot be kept in results: it is read-only"),
    ("data", {"data__folder": None, "data__name": "synthetic"}, LACKS, "CIFAR-10 is not on this machine"),
    ("data", {"data__problem": "STEPBENCH_DATA must be unset"}, SPOILS, "STEPBENCH_DATA must be unset"),
]  # fmt: skip

ARM = {"environment__host__architecture": "aarch64", "environment__cpu__features": ("asimdhp", "bf16")}
UNKNOWN = {"load__others_cores": None, "load__steal_share": None, "environment__cpu__features": ()}
INNOCENT_FACTS: list[tuple[str, dict[str, Any]]] = [
    ("precisions", ARM),  # It needs no AVX.
    ("frequency", {"environment__cpu__governor": None, "environment__cpu__turbo": None}),  # A virtual machine.
    ("processors", {"environment__cpu__quota_cores": 8.0}),
    ("others", {"load__others_cores": 0.05}),
    # A quota leaves processors that others may use.
    ("others", {"load__others_cores": 1.9, "environment__cpu__usable_cores": 2.0}),
    ("others", {"environment__load_average": (2.0, 6.0, 6.0)}),
    ("steal", {"load__steal_share": 0.01}),
    ("memory", {"memory_left_bytes": 10 * GIB}),
    ("disk", {"disk__free_files": None}),  # File systems that have no such limit.
]


def judge(rule: str, facts: dict[str, Any]) -> list[Finding]:
    return list(getattr(rules_host, rule)(changed(**facts)))


@pytest.mark.parametrize(("rule", "facts", "severity", "words"), PLANTED, ids=[words for *_, words in PLANTED])
def test_a_planted_fault_is_found(rule: str, facts: dict[str, Any], severity: Severity, words: str) -> None:
    (finding,) = (finding for finding in judge(rule, facts) if finding.severity is not FINE)
    assert finding.severity is severity
    assert words in finding.what
    assert finding.remedy


@pytest.mark.parametrize(("rule", "facts"), INNOCENT_FACTS, ids=str)
def test_what_is_no_fault_passes(rule: str, facts: dict[str, Any]) -> None:
    assert {finding.severity for finding in judge(rule, facts)} == {FINE}


@pytest.mark.parametrize("rule", ["others", "steal", "precisions"])
def test_what_the_kernel_does_not_tell_is_not_judged(rule: str) -> None:
    assert judge(rule, UNKNOWN) == []


def test_a_fixed_clock_says_what_was_seen() -> None:
    (finding,) = rules_host.frequency(INNOCENT)
    assert finding.what == "the governor is performance, turbo is off"
