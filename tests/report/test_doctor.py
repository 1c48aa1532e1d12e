from __future__ import annotations

import pytest
from builders import ODD_NAMES
from doctored import changed, without_gpu
from shown import assert_tells, printed, read

from stepbench.judge.doctor import judge_doctor
from stepbench.records.doctor import BusyProcess, DoctorFacts
from stepbench.report.blocks import Block
from stepbench.report.doctor import HEADS, blocks, conclusion

HINDERED = changed(environment__cpu__governor="powersave")
SPOILED = changed(disk__free_bytes=0)
TWICE_SPOILED = changed(disk__free_bytes=0, memory_left_bytes=0)


def shown(found: DoctorFacts) -> list[list[Block]]:
    return [blocks(judge_doctor(found))]


def test_each_finding_is_a_row_with_its_remedy_the_gravest_first() -> None:
    head, first, *_ = printed(shown(SPOILED), 200).splitlines()
    assert head.split() == ["severity", "area", "found", "what", "to", "do"]
    assert first.startswith("spoils")
    assert "0 MiB are free in results, where runs are kept" in first
    assert "choose another folder with --results" in first


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (changed(), "Results from here can be trusted."),
        (without_gpu(), "Results from here can be trusted."),
        (HINDERED, "Results from here can be trusted; one thing could be better."),
        (SPOILED, "Do not trust results from here: one thing spoils them."),
        (TWICE_SPOILED, "Do not trust results from here: 2 things spoil them."),
    ],
)
def test_it_ends_with_one_sentence(found: DoctorFacts, sentence: str) -> None:
    assert conclusion(judge_doctor(found)) == sentence
    assert printed(shown(found)).splitlines()[-1] == sentence
    assert read(shown(found)).text.rstrip().endswith(sentence)


def test_the_markdown_table_is_whole() -> None:
    diagnosis = judge_doctor(TWICE_SPOILED)
    head, *rows = read([blocks(diagnosis)]).rows
    assert head == list(HEADS)
    assert [row[:3] for row in rows] == [[found.severity, found.area, found.what] for found in diagnosis.findings]


def test_processes_of_any_name_are_shown_as_they_are() -> None:
    names = (*ODD_NAMES, "evil\x1b[2J\nspoils")
    busiest = tuple(BusyProcess(17 + number, name, 0.9) for number, name in enumerate(names))
    found = [shown(changed(load__others_cores=0.9, load__busiest=busiest[n : n + 3])) for n in range(0, len(names), 3)]
    plain = (*ODD_NAMES, "evil [2J spoils")
    assert_tells(
        [block for blocks in found for block in blocks], *(f"{name} ({17 + n})" for n, name in enumerate(plain))
    )
