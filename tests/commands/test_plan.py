"""A plan, from what a worker says of a request; the workers themselves are in ``engine/test_run.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import ENVIRONMENT, make_case

from stepbench.commands.plan import checked, make_plan
from stepbench.commands.request import Request, measuring_request
from stepbench.engine import asking
from stepbench.engine.worktrees import Checkout
from stepbench.errors import StepbenchError
from stepbench.records.gate import Revision
from stepbench.records.protocol import Describe, Described

OWN, ELSEWHERE = Path("/own"), Path("/elsewhere")
UNFORKABLE = {"cifar10": "importing starts threads"}
"""Why workers cannot be forked, by what data is asked for."""
REQUEST = {"execution": "eager,graph", "data": "synthetic"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Describe, object]]:
    """What workers are asked, and where; each finds one workload ``cnn`` and a CPU."""
    orders: list[tuple[Describe, object]] = []

    def describe(order: Describe, _logs: Path, surroundings: object = None) -> tuple[Described, str | None]:
        orders.append((order, surroundings))
        found = Described({"cnn": order.workloads[0]}, "synthetic", ("cpu",), {"cnn": 64}, ("It was looked at",))
        return found, UNFORKABLE.get(order.data)

    monkeypatch.setattr(asking, "describe", describe)
    return orders


@pytest.mark.usefixtures("asked")
def test_only_the_cases_that_are_named_are_planned() -> None:
    assert len(make_plan(measuring_request(**REQUEST)).plan.cases) == 6
    planned = make_plan(measuring_request(**REQUEST, only=("graph/float32",)))
    assert planned.plan.cases == (make_case("graph"),)
    with pytest.raises(StepbenchError, match=r"--cases names 'nope', which no case is: use an id such as cnn/"):
        make_plan(measuring_request(**REQUEST, only=("graph", "nope")))


@pytest.mark.usefixtures("asked")
def test_a_workloads_own_batch_size_is_taken_where_none_is_asked_for_and_its_remarks_are_kept() -> None:
    own, asked_for = (make_plan(measuring_request(**REQUEST, **size)).plan for size in ({}, {"batch_size": "8,16"}))
    assert {case.batch_size for case in own.cases} == {64}
    assert {case.batch_size for case in asked_for.cases} == {8, 16}
    assert own.remarks == ("It was looked at",)


@pytest.mark.usefixtures("asked")
def test_whether_workers_are_forked_is_in_the_plan_and_in_the_fingerprint_and_why_not_is_said() -> None:
    forked, started = (make_plan(measuring_request(**REQUEST | {"data": data})) for data in ("synthetic", "cifar10"))
    assert (forked.plan.forks, started.plan.forks) == (True, False)
    assert started.plan.remarks[-1].endswith("they cannot be forked: importing starts threads")
    prints = {one.in_environment(ENVIRONMENT).fingerprint for one in (forked, started)}
    assert ENVIRONMENT.fingerprint in prints
    assert len(prints) == 2


@pytest.mark.usefixtures("asked")
def test_a_script_trains_on_data_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.touch()
    assert make_plan(measuring_request(**REQUEST, workload=str(script))).data == "the script's own"
    assert make_plan(measuring_request(**REQUEST)).data == "synthetic"


@pytest.mark.usefixtures("asked")
def test_a_device_that_is_not_there_is_wrong_use() -> None:
    with pytest.raises(StepbenchError, match="TensorFlow sees no gpu here: use --device cpu"):
        make_plan(measuring_request(**REQUEST, device="gpu"))


@pytest.mark.parametrize("wrong", [{"execution": "nope"}, {"data": "/nowhere"}, {"steps_per_call": "2"}])
def test_what_is_wrong_is_refused_before_any_worker_is_asked(asked: list[object], wrong: dict[str, str]) -> None:
    with pytest.raises(StepbenchError):
        make_plan(measuring_request(**{**REQUEST, "execution": "eager", **wrong}))
    assert asked == []


def test_a_revision_is_asked_for_its_own_files_and_the_plan_names_the_users(
    asked: list[tuple[Describe, object]], tmp_path: Path
) -> None:
    own, checkout = tmp_path / "own", tmp_path / "checkout"
    own.mkdir()
    for name in ("mine.py", "plugin.py"):
        (own / name).touch()
    request = measuring_request(**REQUEST, workload=f"{own}/mine.py:workload", plugin=[f"{own}/plugin.py", "module"])
    plan = make_plan(request, Checkout(Revision("", ""), checkout, elsewhere=own)).plan
    ((order, surroundings),) = asked
    assert (order.workloads, order.plugins) == ((f"{checkout}/mine.py:workload",), (f"{checkout}/plugin.py", "module"))
    assert surroundings == Checkout(Revision("", ""), checkout, elsewhere=own).surroundings()
    assert (plan.workloads, plan.plugins) == ({"cnn": f"{own}/mine.py:workload"}, (f"{own}/plugin.py", "module"))


def test_a_plan_is_about_the_files_of_the_revision_that_is_measured() -> None:
    checkout = Checkout(Revision("", ""), ELSEWHERE, elsewhere=OWN)
    for place, there in {
        "/own/a/mine.py:workload": "/elsewhere/a/mine.py:workload",
        "/own/plugin.py": "/elsewhere/plugin.py",
        "/other/mine.py:workload": "/other/mine.py:workload",
        "/own/package.module:workload": "/own/package.module:workload",
        "cifar-cnn": "cifar-cnn",
    }.items():
        assert checkout.located(place) == there
        assert Checkout(Revision("", ""), OWN).located(place) == place


def test_arguments_of_a_script_are_refused_where_there_is_none() -> None:
    with pytest.raises(StepbenchError, match="--script-args goes with a training script"):
        checked(Request(script_args="--epochs 3"))
    (place,) = checked(Request(workloads=("train.py",), script_args="--epochs 3")).workloads
    assert place == "train.py --epochs 3"
