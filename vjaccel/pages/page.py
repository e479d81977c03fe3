"""One HTML file from sections of words, plots and tables. Everything that it is given is text, and is escaped here.

plotly stands inside, compressed: the file needs no network, and its content security policy forbids any.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from vjaccel.errors import MissingExtra
from vjaccel.pages.marks import LINE, SYMBOLS, Mark
from vjaccel.pages.whole import write_whole

__all__ = ["Fold", "Plot", "Section", "Table", "write_page"]


DASHES = {"dash": "5 3", "dot": "2 2", "dashdot": "6 2 2 2"}
"""plotly's dashes in a legend."""


@dataclass(frozen=True)
class Table:
    """Rows of text under their headings; the first column names its row. `strong` are the rows to be seen first."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Plot:
    """plotly's traces and layout; `says` is what is read out in its place, and the table beside it has its figures."""

    title: str
    says: str
    data: Sequence[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Fold:
    """A table that is opened by a click, since it is long."""

    table: Table


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, a legend for the plots, the plots, the tables beside or below them."""

    id: str
    title: str
    words: Sequence[str] = ()
    legend: Sequence[tuple[str, Mark]] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table | Fold] = ()
    points: Sequence[str] = field(default_factory=tuple)


def write_page(path: str | Path, title: str, lead: str, sections: Iterable[Section]) -> None:
    """Write the page; what stood at `path` stays until the new one is whole.

    Raises
    ------
    MissingExtra
        plotly is not installed.
    OutputError
        The file cannot be written.
    """
    sections = list(sections)
    text = Template(_asset("report.html")).substitute(
        title=escape(title),
        lead=escape(lead),
        css=_asset("report.css"),
        js=_asset("report.js"),
        contents="".join(f'<li><a href="#{escape(s.id)}">{escape(s.title)}</a></li>' for s in sections),
        sections="".join(map(_section, sections)),
        plotly=_packed(_plotly()),
    )
    # A text may have half of a surrogate pair, which no file of UTF-8 can.
    write_whole(Path(path), text.encode("utf-8", "replace").decode("utf-8"))


def _section(section: Section) -> str:
    tables = "".join(_fold(t.table) if isinstance(t, Fold) else _table(t) for t in section.tables)
    plots = "".join(map(_plot, section.plots))
    grid = f'<div class="plots{" many" if len(section.plots) > 1 else ""}">{plots}</div>' if plots else ""
    narrow = all(isinstance(t, Table) and len(t.head) <= 5 for t in section.tables)
    beside = len(section.plots) == 1 and tables and narrow
    body = f'<div class="beside">{grid}<div class="tables">{tables}</div></div>' if beside else grid + tables
    points = "".join(f"<li>{escape(x)}</li>" for x in section.points)
    return (
        f'<section id="{escape(section.id)}"><h2>{escape(section.title)}</h2>'
        + "".join(f"<p>{escape(x)}</p>" for x in section.words)
        + (f"<ul>{points}</ul>" if points else "")
        + _legend(section.legend)
        + body
        + "</section>\n"
    )


def _legend(entries: Sequence[tuple[str, Mark]]) -> str:
    """Buttons that hide and show a series; without a script they are the key alone."""
    if not entries:
        return ""
    items = "".join(
        f'<button type="button" aria-pressed="true" data-series="{escape(name)}">{_sign(mark)}{escape(name)}</button>'
        for name, mark in entries
    )
    return f'<div class="legend" role="group" aria-label="Shown in the plots">{items}</div>'


def _sign(mark: Mark) -> str:
    line = mark.symbol == LINE
    look = f"stroke:{mark.colour};fill:{mark.colour if mark.filled else 'none'}"
    if line and mark.dash in DASHES:
        look += f";stroke-dasharray:{DASHES[mark.dash]}"
    path = "M0 8h16" if line else SYMBOLS[mark.symbol]
    return f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{path}" style="{look}"/></svg>'


def _plot(plot: Plot) -> str:
    # "<" must not end the script, and plotly takes markup in texts: see `plain` in plots.py for the latter.
    figure = json.dumps({"data": plot.data, "layout": plot.layout}, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<figure><figcaption>{escape(plot.title)}</figcaption><div class="plot" role="img" '
        f'aria-label="{escape(plot.says)}" style="height:{int(plot.layout["height"])}px"></div>'
        f'<script type="application/json">{figure}</script></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(x)}</th>' for x in table.head)
    rows = "".join(_row(table, i, row) for i, row in enumerate(table.rows))
    full = len(table.head) > 4 or (len(table.head) > 2 and any(len(x) > 16 for row in table.rows for x in row[1:]))
    wide = ' class="wide"' if full else ""  # on a narrow screen its rows stand below each other
    return f"<table{wide}><caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(table: Table, number: int, row: Sequence[str]) -> str:
    cells = "".join(
        f'<td{_kind(x)}><span class="head">{escape(h)}</span><span>{escape(x)}</span></td>'
        for h, x in zip(table.head[1:], row[1:], strict=True)
    )
    strong = ' class="strong"' if number in table.strong else ""
    name = escape(row[0]).replace("_", "_<wbr>")  # where a long name may be broken
    return f'<tr{strong}><th scope="row" class="name">{name}</th>{cells}</tr>'


def _kind(text: str) -> str:
    """A number is never broken; a long text gets a line of its own where cells stand below each other."""
    if len(text) < 16 and any(x.isdigit() for x in text):
        return ' class="number"'
    return ' class="long"' if len(text) > 16 else ""


def _fold(table: Table) -> str:
    return f"<details><summary>{escape(table.caption)} ({len(table.rows)})</summary>{_table(table)}</details>"


def _asset(name: str) -> str:
    return (files("vjaccel.pages") / "assets" / name).read_text(encoding="utf-8")


@cache
def _packed(script: str) -> str:
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as exc:
        raise MissingExtra("the report", "report") from exc
    return str(get_plotlyjs())
