from __future__ import annotations

import msgspec
from doctored import INNOCENT, changed, without_gpu

from stepbench.judge.doctor import DoctorVerdict, judge_doctor
from stepbench.judge.finding import Severity
from stepbench.records.doctor import Data, Disk, DoctorFacts, Load, NvidiaDriver, TensorFlowFacts
from stepbench.records.machine import Environment


def test_a_machine_without_faults_is_fit() -> None:
    judged = judge_doctor(INNOCENT)
    assert [finding for finding in judged.findings if finding.severity is not Severity.FINE] == []
    assert judged.verdict is DoctorVerdict.FIT


def test_what_is_fine_needs_no_remedy_and_what_is_not_has_one() -> None:
    worst = changed(
        environment__cpu__governor="powersave",
        environment__cpu__features=("avx2",),
        load__others_cores=2.0,
        gpu__persistence=False,
        data__folder=None,
    )
    findings = judge_doctor(worst).findings
    assert {finding.severity for finding in findings} == set(Severity)
    assert all((finding.remedy is None) == (finding.severity is Severity.FINE) for finding in findings)


def test_the_gravest_comes_first() -> None:
    found = changed(disk__free_bytes=0, environment__cpu__governor="powersave", data__folder=None)
    severities = [finding.severity for finding in judge_doctor(found).findings]
    assert severities == sorted(severities, key=list(Severity).index)
    assert severities[0] is Severity.SPOILS


def test_one_spoiler_is_enough_and_what_hinders_or_lacks_spoils_nothing() -> None:
    assert judge_doctor(changed(disk__free_bytes=0)).verdict is DoctorVerdict.SPOILED
    assert judge_doctor(changed(environment__cpu__governor="powersave")).verdict is DoctorVerdict.HINDERED
    assert judge_doctor(without_gpu(data__folder=None)).verdict is DoctorVerdict.FIT


def test_a_machine_that_tells_nothing_is_not_accused() -> None:
    silent = DoctorFacts(
        environment=Environment(),
        load=Load(cores=1),
        memory_left_bytes=None,
        disk=Disk(folder="results"),
        data=Data(name="synthetic"),
        driver=NvidiaDriver(),
        tensorflow=TensorFlowFacts(
            gpus=0,
            cuda=None,
            cudnn=None,
            gpu_code=(),
            onednn=False,
            intra_op_threads=None,
            inter_op_threads=None,
            compiles_graphs=False,
            missing_libraries=(),
        ),
    )
    judged = judge_doctor(silent)
    assert judged.verdict is DoctorVerdict.FIT
    lacking = [finding.area for finding in judged.findings if finding.severity is Severity.LACKS]
    assert lacking == ["data", "GPU"]


def test_what_the_doctor_says_survives_strict_json() -> None:
    judged = judge_doctor(changed(disk__free_bytes=0))
    encoded = msgspec.json.encode(judged)
    assert msgspec.json.decode(encoded, type=type(judged), strict=True) == judged
    assert msgspec.json.decode(encoded)["schema"] == 1
