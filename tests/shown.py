"""What readers of a report see, in a terminal and in markdown."""

from __future__ import annotations

import io

from pages import Page, rendered
from rich.console import Console

from stepbench.report.blocks import Chapters
from stepbench.report.markdown import markdown
from stepbench.report.text import print_chapters

TAGS = frozenset(("p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"))
"""What a report's markdown is made of, whatever names it holds."""
ROOMY = 1000
"""A width at which nothing is wrapped."""


def printed(chapters: Chapters, width: int = 160) -> str:
    file = io.StringIO()
    print_chapters(chapters, Console(file=file, width=width, highlight=False))
    return file.getvalue()


def read(chapters: Chapters) -> Page:
    """The markdown as GitHub shows it; it holds nothing but what it should, and cannot steer a terminal."""
    text = markdown(chapters)
    assert "\x1b" not in text
    page = rendered(text)
    assert page.tags <= TAGS
    return page


def assert_tells(chapters: Chapters, *words: str) -> None:
    """Either way of showing it says ``words`` as they are."""
    text, page = printed(chapters, ROOMY), read(chapters)
    assert "\x1b" not in text
    assert [found for found in words if found not in text] == []
    assert [found for found in words if found not in page.text] == []
