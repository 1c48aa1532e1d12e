"""What a browser makes of an HTML page, as far as tests ask."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

VOID = frozenset(("meta", "link", "input", "br", "wbr"))
FETCHING = ("src", "srcset", "href", "action", "data", "poster", "background")


class Document(HTMLParser):
    """Elements with their attributes, ids, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        """The text of each cell of each row of any table."""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"{self._open} were not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "script" in self._open or "style" in self._open:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All text on one line."""
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def headings(self) -> list[str]:
        """The ids of the page's sections."""
        return [attributes["id"] or "" for attributes in self.all("section")]


def faults(html: str) -> list[str]:
    """What a page that is safe and accessible does not have."""
    document = Document(html)
    attributes = [(tag, name, value or "") for tag, found in document.elements for name, value in found.items()]
    ids = [value for _, name, value in attributes if name == "id"]
    refers = [
        part
        for _, name, value in attributes
        if name in {"aria-labelledby", "aria-describedby", "for", "data-table"}
        for part in value.split()
    ]
    refers += [value[1:] for _, name, value in attributes if name == "href" and value.startswith("#")]
    refers += [found for _, _, value in attributes for found in re.findall(r"url\(#(.+?)\)", value)]
    fetched = (
        f"{tag} fetches {value}"
        for tag, name, value in attributes
        if name in FETCHING and not value.startswith(("#", "data:"))
    )
    return [
        *fetched,
        *(f"{tag} has {name}" for tag, name, _ in attributes if name == "style" or name.startswith("on")),
        *(f"{name} is there {ids.count(name)} times" for name in sorted(set(ids)) if ids.count(name) > 1),
        *(f"there is no {name}" for name in sorted(set(refers) - set(ids))),
        *("a drawing has no text" for found in document.all("svg") if not found.get("aria-label")),
        *("a head has no scope" for found in document.all("th") if "scope" not in found),
        *(["several scripts"] if len(document.all("script")) != 1 else []),
        *(["several styles"] if len(document.all("style")) != 1 else []),
        *(["not one h1"] if len(document.all("h1")) != 1 else []),
        *_skipped_headings(document),
    ]


def _skipped_headings(document: Document) -> list[str]:
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch(r"h[1-6]", tag)]
    return [f"h{two} after h{one}" for one, two in itertools.pairwise(levels) if two > one + 1]
