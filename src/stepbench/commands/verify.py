"""What ``verify`` asks for beside its cases: those to train against, or the planted bugs."""

from __future__ import annotations

from dataclasses import replace

from stepbench.commands.request import Request
from stepbench.records.cases import BEGINS_AFTER, GRAPH, PLANTED, Case


def with_planted_bugs(request: Request) -> Request:
    """The request for ``--self-test``: the planted bugs on the request's workload, in all its precisions.

    Those are left out that begin only after the last step of a training.
    """
    steps = request.verification.steps if request.verification else 0
    planted = [name for name in PLANTED if BEGINS_AFTER.get(name, 0) < steps]
    return replace(request, executions=(GRAPH, *planted), plugins=(*request.plugins, "stepbench.training.planted"))


def with_anchors(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases of a verification, with those that they are trained against."""
    return tuple(dict.fromkeys((*(case.anchor for case in cases), *cases)))
