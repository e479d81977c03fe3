"""A report read back from its HTML: its tables by caption, its figures, its sections' text, its references."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

__all__ = ["Read", "read"]


@dataclass
class Read:
    """What a report holds; a table is its rows of cells, the heading first."""

    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    marked: dict[str, list[str]] = field(default_factory=dict)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.read = Read()
        self._stack: list[tuple[str, dict[str, str | None]]] = []
        self._section, self._caption, self._row, self._strong = "", "", [""], False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.read.tags.add(tag)
        self.read.references += [f"{k}={v}" for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if tag in ("meta", "path", "link", "img", "wbr"):
            return
        self._stack.append((tag, given))
        if tag == "section":
            self._section = given["id"] or ""
            self.read.sections[self._section] = ""
        elif tag == "table":
            self._caption = ""
        elif tag == "tr":
            self._row, self._strong = [], given.get("class") == "strong"
        elif tag in ("th", "td"):
            self._row.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # nothing is within it, and what ends is not what it stands in

    def handle_endtag(self, tag: str) -> None:
        if not self._stack:
            return
        self._stack.pop()
        if tag == "tr":
            self.read.tables.setdefault(self._caption, []).append(self._row)
            if self._strong:
                self.read.marked.setdefault(self._caption, []).append(self._row[0])

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._stack]
        if not tags or any(given.get("class") == "head" for _, given in self._stack):
            return
        if tags[-1] == "script" and dict(self._stack[-1][1]).get("type") == "application/json":
            self.read.figures.setdefault(self._section, []).append(json.loads(data))
        elif "caption" in tags:
            self._caption += data
        elif "th" in tags or "td" in tags:
            self._row[-1] += data
        if "section" in tags and tags[-1] != "script":
            self.read.sections[self._section] += data + "\n"


def read(path: Path) -> Read:
    """The report at `path`."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.read
