"""The shell recipe around a ``stepbench`` that has its verdict ready, and the workflow that runs the recipe."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipes import RECIPE, ROOT, Job, make_job, write_program
from repositories import git
from typer.core import TyperGroup
from typer.main import get_command

from stepbench.cli.program import app
from stepbench.commands.options import duration, share
from stepbench.commands.request import measuring_request
from stepbench.records.gate import GateSettings

WORKFLOW = ROOT / ".github" / "workflows" / "gate.yml"
STEPBENCH = """#!/bin/sh
printf '%s\\n' "$@" >asked
printf '**A VERDICT** of `%s`\\n' "$3"
exit "${VERDICT:-0}"
"""
PYTHON = """#!/bin/sh
printf '%s\\n' "$@" >asked
printf '1 failed\\n```\\n'
exit "${VERDICT:-0}"
"""


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("pattern")
    made = make_job(folder, begin={"step": "1\n"}, head={"step": "2\n"}, later={"other": "1\n"})
    for name, text in (("stepbench", STEPBENCH), ("python", PYTHON)):
        write_program(made.programs, name, text)
    return made


@pytest.fixture
def job(pattern: Job, tmp_path: Path) -> Job:
    return replace(pattern, clone=Path(shutil.copytree(pattern.clone, tmp_path / "clone")))


def asked(job: Job) -> list[str]:
    return (job.clone / "asked").read_text().splitlines()


def test_a_shallow_clone_is_gated_against_the_commit_in_common_with_the_options_given(job: Job) -> None:
    assert git(job.clone, "rev-parse", "--is-shallow-repository").strip() == "true"
    done = job.run("origin/main", "--execution", "graph,xla", "--workload", "a b.py:workload")
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(job) == [
        *("gate", "--base", job.base, "--results", "results", "--format", "markdown"),
        *("--execution", "graph,xla", "--workload", "a b.py:workload"),
    ]
    assert done.stdout == f"**A VERDICT** of `{job.base}`\n"


def test_a_full_clone_needs_no_network(job: Job) -> None:
    git(job.clone, "fetch", "--quiet", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git(job.clone, "remote", "set-url", "origin", "file:///nowhere")
    assert job.run("origin/main", GATE_RESULTS="elsewhere").returncode == 0
    assert asked(job)[:5] == ["gate", "--base", job.base, "--results", "elsewhere"]
    git(job.clone, "branch", "main", "origin/main")
    assert job.run("main").returncode == 0
    assert asked(job)[2] == job.base


def test_a_branch_that_went_on_since_it_was_fetched_is_fetched_again(job: Job) -> None:
    git(job.clone, "fetch", "--quiet", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    newest = git(job.clone, "rev-parse", "origin/main").strip()
    git(job.clone, "rebase", "--quiet", "origin/main")
    git(job.clone, "update-ref", "refs/remotes/origin/main", job.base)
    assert job.run("origin/main").returncode == 0
    assert asked(job)[2] == newest != job.base


@pytest.mark.parametrize("variable", ["GITHUB_STEP_SUMMARY", "GATE_SUMMARY"])
def test_the_verdict_is_appended_to_the_summary_whatever_it_is(job: Job, tmp_path: Path, variable: str) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("Before.\n")
    assert job.run("origin/main", **{variable: str(summary), "VERDICT": "1"}).returncode == 1
    assert summary.read_text() == f"Before.\n**A VERDICT** of `{job.base}`\n"


@pytest.mark.parametrize(
    ("code", "inconclusive"), [(0, "warn"), (1, "warn"), (2, "fail"), (3, "warn"), (3, "fail"), (130, "warn")]
)
def test_the_exit_code_is_the_gates_but_an_undecided_one_may_be_a_warning(
    job: Job, code: int, inconclusive: str
) -> None:
    done = job.run("origin/main", VERDICT=str(code), GATE_INCONCLUSIVE=inconclusive)
    warned = (code, inconclusive) == (3, "warn")
    assert done.returncode == (0 if warned else code)
    assert ("::warning title=stepbench gate::" in done.stdout) == warned
    assert "A VERDICT" in done.stdout


@pytest.mark.parametrize("code", [0, 1, 3])
def test_pytest_gates_where_junits_xml_is_asked_for(job: Job, tmp_path: Path, code: int) -> None:
    summary = tmp_path / "summary.md"
    done = job.run("origin/main", "-k", "xla", GATE_JUNIT="gate.xml", VERDICT=str(code), GATE_SUMMARY=str(summary))
    assert done.returncode == code
    assert asked(job) == [
        *("-m", "pytest", "--quiet", "bench", f"--stepbench-gate={job.base}", "--stepbench-results=results"),
        *("--junitxml=gate.xml", "-k", "xla"),
    ]
    assert summary.read_text() == "\n    1 failed\n    ```\n"


def test_what_is_wrong_is_one_sentence_and_gates_nothing(job: Job) -> None:
    git(job.clone, "checkout", "--quiet", "--orphan", "unrelated")
    git(job.clone, "commit", "--quiet", "--message", "Begin anew")
    said = {
        "name the branch that this change is to be merged into, such as origin/main.": job.run(),
        "GATE_INCONCLUSIVE is warn or fail, not perhaps.": job.run("origin/main", GATE_INCONCLUSIVE="perhaps"),
        "to pytest an undecided case is skipped: GATE_JUNIT takes no GATE_INCONCLUSIVE.": job.run(
            "origin/main", GATE_JUNIT="gate.xml", GATE_INCONCLUSIVE="fail"
        ),
        "HEAD and origin/main have no commit in common: name another branch.": job.run("origin/main"),
    }
    for sentence, done in said.items():
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"gate.sh: {sentence}\n")
    assert not (job.clone / "asked").exists()


def test_a_branch_that_does_not_exist_is_named_by_git(job: Job) -> None:
    done = job.run("origin/nope")
    assert done.returncode == 2
    assert done.stderr.endswith("gate.sh: There is no branch nope at origin.\n")
    assert not (job.clone / "asked").exists()


def steps() -> list[dict[str, Any]]:
    """Of the only job of the workflow."""
    (found,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    listed: list[dict[str, Any]] = found["steps"]
    return listed


def using(action: str) -> dict[str, Any]:
    (step,) = (step for step in steps() if step.get("uses", "").startswith(f"{action}@"))
    return step


def test_the_workflow_takes_the_whole_history_and_keeps_what_the_gate_leaves() -> None:
    assert set(yaml.safe_load(WORKFLOW.read_text())[True]) == {"pull_request"}  # YAML takes "on" for true.
    assert using("actions/checkout")["with"]["fetch-depth"] == 0
    (gate,) = (step for step in steps() if "GATE_RESULTS" in step.get("env", {}))
    kept = using("actions/upload-artifact")
    assert (kept["if"], kept["with"]["path"]) == ("always()", gate["env"]["GATE_RESULTS"])


def test_the_workflow_names_only_what_exists() -> None:
    text = WORKFLOW.read_text()
    known = {step["id"] for step in steps() if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", text)) <= known
    for files in re.findall(r"hashFiles\((.*?)\)", text):
        assert [name for name in re.findall(r"'(.*?)'", files) if not (ROOT / name).is_file()] == []
    commands = [line for step in steps() for line in step.get("run", "").splitlines()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command in commands if command.startswith("make ")} <= targets
    (gate,) = (command.split() for command in commands if "gate.sh" in command)
    assert os.access(ROOT / gate[0], os.X_OK)
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    offered = {name for parameter in command.commands["gate"].params for name in parameter.opts}
    assert {word for word in gate if word.startswith("--")} <= offered
    settings = dict(zip(gate[2::2], gate[3::2], strict=True))
    measuring_request(execution=settings["--execution"], precision=settings["--precision"])
    GateSettings(share("--threshold", settings["--threshold"]), budget_s=duration("--budget", settings["--budget"]))


@pytest.mark.parametrize("file", [WORKFLOW, ROOT / "docs" / "gate.md"], ids=lambda file: file.name)
def test_the_recipe_reads_every_variable_that_is_named(file: Path) -> None:
    named = set(re.findall(r"GATE_[A-Z]+", file.read_text()))
    assert named
    assert named <= set(re.findall(r"\$\{(GATE_[A-Z]+)", RECIPE.read_text()))


def test_the_pages_options_of_pytest_exist(pytestconfig: pytest.Config) -> None:
    named = set(re.findall(r"--stepbench-[a-z]+", (ROOT / "docs" / "gate.md").read_text()))
    assert {"--stepbench-gate", "--stepbench-threshold", "--stepbench-budget"} <= named
    assert {name for name in named if not hasattr(pytestconfig.option, name[2:].replace("-", "_"))} == set()
