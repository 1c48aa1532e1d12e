from __future__ import annotations

import msgspec
import pytest
from builders import make_case, make_measurement, make_run
from shown import read

from stepbench.judge.training import Equivalence, Verdict
from stepbench.records.cases import BUGS, INNOCENT
from stepbench.report.summary import Summary, summarize
from stepbench.report.verify import all_well, self_test_table

CAUGHT, MISSED, MUTE = list(BUGS)[:3]
FINE = {INNOCENT: Verdict.EQUIVALENT, CAUGHT: Verdict.DIFFERENT, MISSED: Verdict.DIFFERENT, MUTE: Verdict.NOT_CHECKED}


def self_tested(because: str = "unsupported: no optimizer has a rate", **verdicts: Verdict) -> Summary:
    found = FINE | verdicts
    summary = summarize(make_run(*(make_measurement(make_case(name)) for name in reversed(found))))
    cases = (
        msgspec.structs.replace(case, equivalence=Equivalence(found[case.execution], (because, "and so on")))
        for case in summary.cases
    )
    return msgspec.structs.replace(summary, cases=tuple(cases))


def test_each_planted_bug_is_a_row_the_innocent_first() -> None:
    rows = read([[self_test_table(self_tested())]]).rows[1:]
    assert [row[2] for row in rows] == ["passed", "caught", "caught", "not applicable"]
    assert rows[0] == ["nothing", "float32", "passed", "unsupported: no optimizer has a rate"]
    assert [row[0] for row in rows[1:]] == [BUGS[name] for name in (CAUGHT, MISSED, MUTE)]
    assert all_well(self_tested())


def test_a_missed_bug_and_a_false_alarm_are_told() -> None:
    for name, verdict, said in ((MISSED, Verdict.EQUIVALENT, "MISSED"), (INNOCENT, Verdict.DIFFERENT, "FALSE ALARM")):
        summary = self_tested(**{name: verdict})
        table = self_test_table(summary)
        assert said in [row[2] for row in read([[table]]).rows]
        assert len(table.styles) == 1
        assert not all_well(summary)


def test_a_bug_whose_worker_crashed_or_ran_out_of_time_is_not_inapplicable() -> None:
    for because in ("timeout: no answer within 5 s", "crash: the worker was killed", "error: unsupported: so it said"):
        summary = self_tested(because)
        assert [row[2] for row in read([[self_test_table(summary)]]).rows[1:]][-1] == "NOT JUDGED"
        assert not all_well(summary)


def test_the_innocent_variant_that_was_not_judged_has_not_passed() -> None:
    summary = self_tested(**{INNOCENT: Verdict.NOT_CHECKED})
    assert read([[self_test_table(summary)]]).rows[1][2] == "NOT JUDGED"
    assert not all_well(summary)


@pytest.mark.parametrize(("own", "said"), [(Verdict.DIFFERENT, "NOT TOLD"), (Verdict.EQUIVALENT, "FALSE ALARM")])
def test_where_the_workloads_own_step_is_different_nothing_is_told_and_that_is_not_well(
    own: Verdict, said: str
) -> None:
    planted = self_tested("gradient of a is too short", **{INNOCENT: Verdict.DIFFERENT})
    graph = summarize(make_run(make_measurement(make_case("graph")))).cases[0]
    judged = msgspec.structs.replace(graph, equivalence=Equivalence(own, ("gradient of a is too short",)))
    summary = msgspec.structs.replace(planted, cases=(*planted.cases, judged))
    rows = read([[self_test_table(summary)]]).rows[1:]
    assert rows[0][2] == said
    told = rows[0][3] == "the workload's own step is different in float32: gradient of a is too short"
    assert told == (own is Verdict.DIFFERENT)
    assert not all_well(summary)
