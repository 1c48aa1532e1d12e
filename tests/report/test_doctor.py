from __future__ import annotations

import io

import pytest
from builders import ODD_NAMES
from doctored import changed, without_gpu
from pages import rendered
from rich.console import Console

from stepbench.judge.doctor import judge_doctor
from stepbench.records.doctor import BusyProcess, DoctorFacts
from stepbench.report.doctor import HEADS, conclusion, markdown, print_diagnosis

HINDERED = changed(environment__cpu__governor="powersave")
SPOILED = changed(disk__free_bytes=0)
TWICE_SPOILED = changed(disk__free_bytes=0, memory_left_bytes=0)


def terminal(found: DoctorFacts, width: int = 200) -> str:
    file = io.StringIO()
    print_diagnosis(judge_doctor(found), Console(file=file, width=width, highlight=False))
    return file.getvalue()


def busy(name: str) -> DoctorFacts:
    return changed(load__others_cores=0.9, load__busiest=(BusyProcess(17, name, 0.9),))


def test_each_finding_is_a_row_with_its_remedy_the_gravest_first() -> None:
    head, first, *_ = terminal(SPOILED).splitlines()
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
    assert terminal(found).splitlines()[-1] == sentence
    assert markdown(judge_doctor(found)).splitlines()[-1] == f"**{sentence}**"


def test_the_markdown_table_is_whole() -> None:
    diagnosis = judge_doctor(TWICE_SPOILED)
    head, *rows = rendered(markdown(diagnosis)).rows
    assert head == list(HEADS)
    assert [row[:3] for row in rows] == [[found.severity, found.area, found.what] for found in diagnosis.findings]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_process_of_any_name_is_shown_as_it_is(name: str) -> None:
    found = busy(name)
    assert f"{name} (17)" in terminal(found, width=400)
    page = rendered(markdown(judge_doctor(found)))
    assert f"{name} (17)" in page.rows[1][2]
    assert page.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p", "strong"}


def test_a_name_cannot_steer_the_terminal() -> None:
    found = busy("evil\x1b[2J\nspoils")
    assert "\x1b" not in terminal(found)
    assert "\x1b" not in markdown(judge_doctor(found))
    assert len(terminal(found, width=400).splitlines()) == len(terminal(busy("good"), width=400).splitlines())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_off_however_narrow_the_terminal(width: int) -> None:
    text = "".join(terminal(SPOILED, width).split())
    assert len(max(terminal(SPOILED, width).splitlines(), key=len)) <= width
    assert text.count("spoils") >= 1
