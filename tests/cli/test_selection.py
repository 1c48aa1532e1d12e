"""What selects cases: the same for every command that measures some, and asked for as it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from invoking import Invoke

from stepbench.commands import run
from stepbench.commands.request import OPTIONS, Request, flag
from stepbench.errors import StepbenchError
from stepbench.records.cases import Device, Precision, Tracing, Verification
from stepbench.records.settings import Setting


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: Invoke) -> Invoke:
    """Call the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return in_process


SELECTION = {
    "--workload": "package.module:attribute",
    "--execution": "mine",
    "--precision": "mixed_float16",
    "--device": "cpu",
    "--batch-size": "7",
    "--steps-per-call": "3",
    "--setting": "onednn=off",
    "--data": "synthetic",
    "--plugin": "package.plugin",
    "--timeout": "2m",
    "--seed": "5",
}


@pytest.mark.parametrize(
    ("command", "own", "asked"),
    [
        (
            "run",
            "--replicates 2 --rounds 4 --no-input-pipeline --seeds 3 --steps 40 --margin 5%",
            Request(replicates=2, rounds=4, input_pipeline=False, verification=Verification(3, 40, 0.05),
                    tracing=Tracing()),
        ),
        ("run", "--no-verify --no-trace", Request()),
        (
            "verify",
            "--seeds 3 --steps 40 --margin 5%",
            Request(replicates=0, verification=Verification(3, 40, 0.05)),
        ),
        ("profile", "--steps 20", Request(replicates=0, tracing=Tracing(20))),
    ],
)  # fmt: skip
def test_each_command_asks_for_what_its_options_say(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: str, own: str, asked: Request
) -> None:
    seen: list[Request] = []

    def noted(request: Request) -> NoReturn:
        seen.append(request)
        raise StepbenchError("It is enough to have asked.")

    monkeypatch.setattr(run, "make_plan", noted)
    selection = [part for pair in SELECTION.items() for part in pair]
    assert invoke(command, *selection, *own.split())[0] == 2
    assert seen == [
        replace(
            asked,
            workloads=("package.module:attribute",),
            executions=("mine",),
            precisions=(Precision.MIXED_FLOAT16,),
            devices=(Device.CPU,),
            batch_sizes=(7,),
            steps_per_call=(3,),
            settings=((Setting("onednn", "off"),),),
            data="synthetic",
            plugins=("package.plugin",),
            timeout_s=120.0,
            seed=5,
        )
    ]


@pytest.mark.parametrize("command", ["run", "verify", "profile", "gate", "calibrate"])
def test_what_selects_cases_is_the_same_for_all_that_measure(invoke: Invoke, command: str) -> None:
    out = invoke(command, "--help")[1]
    assert [flag(name) for name in OPTIONS if flag(name) not in out] == []


@pytest.mark.parametrize("command", ["verify", "profile", "gate --base HEAD", "calibrate"])
def test_what_is_selected_wrongly_is_refused_whatever_is_measured(invoke: Invoke, command: str) -> None:
    code, out, err = invoke(*command.split(), "--batch-size", "0")
    assert (code, out) == (2, "")
    assert err.startswith("stepbench: --batch-size takes whole numbers from 1 ")
