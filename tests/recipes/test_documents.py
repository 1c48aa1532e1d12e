"""What the guides name is there."""

from __future__ import annotations

import re
from pathlib import Path

import places
import pytest

GUIDES = sorted(path for path in (*places.ROOT.glob("*.md"), *places.ROOT.glob("docs/**/*.md")))
FILE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|md|toml|html))`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
ROOMS = (places.ROOT, places.ROOT / "src" / "stepbench", places.ROOT / "src" / "stepbench" / "report" / "html")
OF_USERS = ("train.py", "step.py", "report.html", "script.py", "file.py", "model.py", "workload.py")
"""Files that a guide lets its reader write, or that stepbench writes."""


def missing(guide: Path, text: str) -> list[str]:
    """Files that are named, alone or after a room's name, and links, that lead nowhere."""
    anywhere = {path.name for path in places.ROOT.glob("src/**/*.py")} | {*OF_USERS}
    files = [
        name
        for name in FILE.findall(text)
        if not any((room / name).exists() for room in ROOMS)
        and ("/" in name or name not in anywhere)
        and not name.startswith(("path/to/", "results/"))
        and "NAME" not in name
    ]
    return [*files, *(link for link in LINK.findall(text) if not (guide.parent / link).exists())]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_files_and_links_of_a_guide_exist(guide: Path) -> None:
    text = guide.read_text()
    if guide.name == "CHANGELOG.md":  # It tells of what is gone too.
        text = text.partition("\n## 0")[0]
    assert missing(guide, text) == []


def test_a_file_that_is_gone_is_seen() -> None:
    assert missing(places.ROOT / "README.md", "see `report/grid.py` and [this](docs/gone.md)") == [
        "report/grid.py",
        "docs/gone.md",
    ]
