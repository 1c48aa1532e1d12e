"""Short names of cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stepbench.records.cases import Case


def short_names(cases: Iterable[Case]) -> Mapping[str, str]:
    """What tells each of ``cases`` from the others, by its id."""
    known = list(dict.fromkeys(cases))
    one_place = len({(case.workload, case.device) for case in known}) == 1
    one_size = len({case.batch_size for case in known}) == 1

    def name(case: Case) -> str:
        size = "" if one_size else f"/b{case.batch_size}"
        place = "" if one_place else f" of {case.workload} on {case.device}"
        return f"{case.variant}{size}{case.suffix}{place}"

    return {case.id: name(case) for case in known}
