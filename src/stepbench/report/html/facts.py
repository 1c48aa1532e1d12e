"""The machine that a run was measured on, and what it takes to repeat it, as named facts."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Sequence

from stepbench.records.cases import Plan
from stepbench.records.gate import Gate
from stepbench.records.machine import Environment, Gpu, Repository
from stepbench.records.store import Run
from stepbench.report import formats
from stepbench.report.blocks import Commands
from stepbench.report.html.view import Facts, PageBlock

UNKNOWN = "not known"
ON_OFF = {True: "on", False: "off", None: ""}
YES_NO = {True: "yes", False: "no", None: ""}

Named = Sequence[tuple[str, str]]


def environment_facts(environment: Environment) -> list[Facts]:
    """What is known of the machine; what is not known is left out."""
    groups = [
        ("Computer", _host(environment)),
        ("Processor", _cpu(environment)),
        ("Memory", _memory(environment)),
        *((f"GPU {number}" if number else "GPU", _gpu(gpu)) for number, gpu in enumerate(environment.gpus)),
        ("Software", [("Python", environment.software.python or ""), *environment.software.packages.items()]),
        ("Environment variables", list(environment.variables.items())),
    ]
    return [Facts(title, shown) for title, facts in groups if (shown := _known(facts))]


def _known(facts: Named) -> list[tuple[str, str]]:
    return [(name, value) for name, value in facts if value]


def _host(environment: Environment) -> Named:
    host = environment.host
    load = ", ".join(f"{value:.2f}" for value in environment.load_average or ())
    return [
        ("name", host.hostname or ""),
        ("product", host.product or ""),
        ("system", " ".join(filter(None, (host.distribution or host.system, host.architecture)))),
        ("kernel", host.kernel or ""),
        ("virtual machine", YES_NO[host.hypervisor]),
        ("container", host.container or ""),
        ("load over 1, 5 and 15 minutes before", load),
        ("fingerprint", environment.fingerprint),
    ]


def _cpu(environment: Environment) -> Named:
    cpu = environment.cpu
    counts = ((cpu.usable_cores, "usable"), (cpu.logical_cores, "logical"), (cpu.physical_cores, "physical"))
    return [
        ("model", cpu.model or ""),
        ("family, model, stepping", _numbers(cpu.family, cpu.model_number, cpu.stepping)),
        ("cores", ", ".join(f"{count:g} {name}" for count, name in counts if count)),
        ("features", ", ".join(cpu.features)),
        ("frequency governor", cpu.governor or ""),
        ("turbo", ON_OFF[cpu.turbo]),
        ("highest frequency", f"{cpu.max_mhz:.0f} MHz" if cpu.max_mhz else ""),
        ("SMT", ON_OFF[cpu.smt]),
    ]


def _numbers(*values: int | None) -> str:
    return ", ".join(str(value) for value in values if value is not None)


def _memory(environment: Environment) -> Named:
    memory = environment.memory
    sizes = (
        ("in all", memory.total_bytes),
        ("available before", memory.available_bytes),
        ("limit", memory.limit_bytes),
        ("swap", memory.swap_bytes),
    )
    return [
        *((name, formats.size(value)) for name, value in sizes if value is not None),
        ("transparent huge pages", memory.transparent_hugepages or ""),
    ]


def _gpu(gpu: Gpu) -> Named:
    capability = ".".join(map(str, gpu.compute_capability or ()))
    return [
        ("name", gpu.name or ""),
        ("driver", gpu.driver or ""),
        ("CUDA", gpu.cuda or ""),
        ("compute capability", capability),
        ("memory", formats.size(gpu.memory_total_bytes) if gpu.memory_total_bytes else ""),
        ("SM clock, highest", f"{gpu.sm_clock_max_mhz} MHz" if gpu.sm_clock_max_mhz else ""),
        ("power limit", f"{gpu.power_limit_w:.0f} W" if gpu.power_limit_w else ""),
        ("temperature before", f"{gpu.temperature_c} °C" if gpu.temperature_c is not None else ""),
        ("clocks limited by", ", ".join(gpu.clock_limits or ())),
        ("MIG", ON_OFF[gpu.mig]),
        ("ECC", ON_OFF[gpu.ecc]),
        ("other processes", str(gpu.other_processes) if gpu.other_processes is not None else ""),
    ]


def reproduction(run: Run) -> list[PageBlock]:
    """What it takes to measure the same again."""
    repository = run.environment.repository
    facts = [
        *_sources(repository),
        ("data", run.data),
        *(("workload", remark) for remark in run.plan.remarks),
        *_plan(run.plan),
        ("began", moment(run.started)),
        ("ended", moment(run.finished) if run.finished else "unfinished"),
    ]
    return [_commands(repository.commit if repository else None, run.command), Facts(f"Run {run.run_id}", facts)]


def gate_reproduction(gate: Gate) -> list[PageBlock]:
    """What it takes to judge the same again."""
    settings = gate.settings
    facts = [
        ("base", _revision(gate.base.name, gate.base.commit, dirty=gate.base.dirty)),
        ("head", _revision(gate.head.name or "working tree", gate.head.commit, dirty=gate.head.dirty)),
        ("lock file, SHA-256", _lock(gate.environment.repository)),
        ("data", gate.data),
        ("threshold", f"{settings.threshold:.1%}"),
        ("false alarms at most", f"{settings.false_alarms:.1%}"),
        ("budget", formats.seconds(settings.budget_s)),
        ("began", moment(gate.started)),
    ]
    return [_commands(gate.head.commit, gate.command), Facts(f"Gate {gate.gate_id}", facts)]


def _commands(commit: str | None, command: Sequence[str]) -> Commands:
    checkout = [f"git checkout {shlex.quote(commit)}"] if commit else []
    return Commands([*checkout, shlex.join(command)])


def _revision(name: str, commit: str, *, dirty: bool) -> str:
    return f"{name}: {commit}{', with uncommitted changes' if dirty else ''}"


def _sources(repository: Repository | None) -> Named:
    if repository is None:
        return [("commit", "none: it was measured outside a git checkout"), ("lock file, SHA-256", UNKNOWN)]
    on = f" on {repository.branch}" if repository.branch else ""
    changed = ", with uncommitted changes" if repository.dirty else ""
    return [
        ("commit", f"{repository.commit}{on}{changed}" if repository.commit else "none yet"),
        ("lock file, SHA-256", _lock(repository)),
    ]


def _lock(repository: Repository | None) -> str:
    return repository.lock if repository and repository.lock else UNKNOWN


def _plan(plan: Plan) -> Named:
    rounds = f"{plan.replicates} replicates of {plan.rounds} rounds, blocks of {formats.seconds(plan.block_seconds)}"
    verification, tracing = plan.verification, plan.tracing
    locators = (f"{name} from {place}" for name, place in plan.workloads.items() if name != place)
    return _known(
        [
            ("workloads", ", ".join(locators)),
            ("plugins", ", ".join(plan.plugins)),
            ("timing", rounds if plan.replicates else "none"),
            (
                "verification",
                f"up to {verification.seeds} seeds of {verification.steps} steps, margin {verification.margin:.1%}"
                if verification
                else "none",
            ),
            ("traces", f"of {tracing.steps} steps" if tracing else "none"),
            ("seed", str(plan.seed)),
        ]
    )


def moment(time: dt.datetime) -> str:
    """When it was, for people anywhere."""
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
