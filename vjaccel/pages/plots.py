"""The kinds of plot that a page has, as plotly's figures: rows on one axis; dots and lines, or bars, on two.

Both scales are chosen here, not by plotly, so that no label is cut on a narrow screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vjaccel.pages.marks import Mark
from vjaccel.pages.page import Plot
from vjaccel.pages.words import short, ticks

__all__ = [
    "Axis",
    "Bar",
    "Bars",
    "Dot",
    "Line",
    "Part",
    "Row",
    "Strip",
    "bars_plot",
    "dots_plot",
    "linear",
    "logarithmic",
    "plain",
    "rows_plot",
    "upward",
]

ROW, HEADER, FRAME = 24, 26, 64


class Axis(NamedTuple):
    """An axis: its title, and plotly's `type`, `range` and ticks."""

    title: str
    settings: dict[str, Any]


class Row(NamedTuple):
    """One line of a rows plot: a mark at `value`, a whisker from `low` to `high`; `name` is the legend's."""

    label: str
    name: str
    mark: Mark
    value: float
    low: float
    high: float
    hover: str


class Part(NamedTuple):
    """Marks that look alike; `name` is the legend's."""

    name: str
    mark: Mark
    values: Sequence[float]
    hovers: Sequence[str]


class Strip(NamedTuple):
    """One line of a rows plot that has many small marks."""

    label: str
    parts: Sequence[Part]


class Dot(NamedTuple):
    """One place of a dots plot."""

    x: float
    y: float
    hover: str


class Line(NamedTuple):
    """A series of a dots plot; `parts` are joined within, never between. A line of a `size` of 0 has no dots."""

    name: str
    mark: Mark
    parts: Sequence[Sequence[Dot]]
    joined: bool = True
    size: int = 9


class Bar(NamedTuple):
    """From `left` to `right`, `height` high."""

    left: float
    right: float
    height: float
    hover: str


class Bars(NamedTuple):
    """A series of bars; those of several stand upon each other."""

    name: str
    mark: Mark
    bars: Sequence[Bar]


def logarithmic(title: str, values: Sequence[float], words: Callable[[float], str], most: int = 5) -> Axis:
    """An axis around `values`, all above zero; `words` writes its numbers."""
    low, high = min(values), max(values)
    pad = max(0.08 * math.log10(high / low), 0.12)
    low, high = low / 10**pad, high * 10**pad
    at = next(found for n in range(most, 1, -1) if _fit(found := ticks(low, high, n), words) or n == 2)
    return Axis(
        title,
        {
            "type": "log",
            "range": [math.log10(low), math.log10(high)],
            "tickvals": at,
            "ticktext": [plain(words(x)) for x in at],
        },
    )


def linear(title: str, low: float, high: float, words: Callable[[float], str]) -> Axis:
    """An axis from `low` to `high`, in at most six round steps."""
    pad = (high - low) * 0.05
    about = (high - low) / 5
    digit = 10.0 ** math.floor(math.log10(about))
    step = next(d * digit for d in (1, 2, 5, 10) if d * digit >= about * 0.999)
    at = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    while len(at) > 2 and not _fit(at, words):
        at = at[::2]
    return Axis(
        title,
        {
            "type": "linear",
            "range": [low - pad, high + pad],
            "tickvals": at,
            "ticktext": [plain(words(x)) for x in at],
        },
    )


def upward(title: str, high: float, words: Callable[[float], str]) -> Axis:
    """An axis that begins at nothing, up to `high`."""
    high = high or 1.0
    axis = linear(title, 0.0, high, words)
    return Axis(title, axis.settings | {"range": [0.0, high * 1.05]})


def rows_plot(
    title: str, says: str, groups: Sequence[tuple[str, Sequence[Row | Strip]]], axis: Axis, line: float | None = None
) -> Plot:
    """Rows under the headings of their groups (an empty one is left out), and an upright line at `line`."""
    data: list[dict[str, Any]] = []
    places, labels, notes, at = [], [], [], 0.0
    for heading, rows in groups:
        if heading:
            notes.append(_heading(heading, at))
            at += HEADER / ROW
        for row in rows:
            places.append(at)
            labels.append(plain(short(row.label)))
            data += [_part(x, at) for x in row.parts] if isinstance(row, Strip) else [_row(row, at)]
            at += 1
    layout = _layout(int(at * ROW) + FRAME, axis, None)
    layout["margin"]["t"] = 8
    layout["yaxis"] |= {
        "range": [at - 0.4, -0.6],
        "tickvals": places,
        "ticktext": labels,
        "showgrid": False,
        "zeroline": False,
    }
    layout["annotations"] = notes
    if line is not None:
        layout["shapes"] = [_upright(line, {"color": "var(--ink)", "width": 1.5})]
    return Plot(title, says, data, layout)


def dots_plot(
    title: str,
    says: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    roof: Sequence[tuple[float, float]] = (),
    height: int = 340,
    uprights: Sequence[float] = (),
) -> Plot:
    """Dots, joined or not, a `roof` above them, and dotted lines upright at some places."""
    data = [_line(one) for one in lines]
    if roof:
        ends = {"x": [a for a, _ in roof], "y": [b for _, b in roof]}
        look = {"color": "var(--soft)", "width": 2, "dash": "dash"}
        data.insert(0, {"type": "scatter", "mode": "lines", "line": look, "hoverinfo": "skip"} | ends)
    layout = _layout(height, x, y)
    if uprights:
        layout["shapes"] = [_upright(at, {"color": "var(--soft)", "width": 1.5, "dash": "dot"}) for at in uprights]
    return Plot(title, says, data, layout)


def bars_plot(
    title: str, says: str, series: Sequence[Bars], x: Axis, y: Axis, lines: Sequence[Line] = (), height: int = 300
) -> Plot:
    """Bars, stacked, and lines before them."""
    layout = _layout(height, x, y) | {"barmode": "stack"}
    return Plot(title, says, [*map(_bars, series), *map(_line, lines)], layout)


def plain(text: str) -> str:
    """`text` as plotly shows it letter by letter: it takes markup, and would make a link of one."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fit(at: Sequence[float], words: Callable[[float], str]) -> bool:
    """Whether the labels stand beside each other in the narrowest plot, whose axis is about 200 pixels long."""
    return sum(len(words(x)) * 7 + 14 for x in at) < 210


def _hover(*lines: str) -> str:
    return "<br>".join(plain(x) for line in lines for x in line.split("\n"))


def _row(row: Row, at: float) -> dict[str, Any]:
    whisker = {
        "type": "data",
        "symmetric": False,
        "array": [row.high - row.value],
        "arrayminus": [row.value - row.low],
        "thickness": 1.5,
        "width": 4,
        "color": row.mark.colour,
    }
    look = {"type": "scatter", "mode": "markers", "marker": row.mark.plotly, "error_x": whisker, "meta": row.name}
    return look | {"x": [row.value], "y": [at], "hoverinfo": "text", "hovertext": [_hover(row.name, row.hover)]}


def _part(part: Part, at: float) -> dict[str, Any]:
    look = {"type": "scatter", "mode": "markers", "marker": part.mark.plotly | {"size": 7}}
    places = {"x": list(part.values), "y": [at] * len(part.values)}
    return (
        look
        | places
        | {"meta": part.name, "hoverinfo": "text", "hovertext": [_hover(part.name, h) for h in part.hovers]}
    )


def _line(line: Line) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for part in line.parts:
        for dot in part:
            x.append(dot.x)
            y.append(dot.y)
            hover.append(_hover(line.name, dot.hover))
        x.append(None)  # a gap
        y.append(None)
        hover.append("")
    look = {"color": line.mark.colour, "width": 2, "dash": line.mark.dash}
    mode = "lines" if not line.size else "lines+markers" if line.joined else "markers"
    small = {"size": line.size} | ({} if line.size > 6 else {"line": {"width": 1, "color": line.mark.colour}})
    return {
        "type": "scatter",
        "mode": mode,
        "marker": line.mark.plotly | small,
        "line": look,
        "x": x,
        "y": y,
        "hoverinfo": "text",
        "hovertext": hover,
        "meta": line.name,
    }


def _bars(series: Bars) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": [(bar.left + bar.right) / 2 for bar in series.bars],
        "y": [bar.height for bar in series.bars],
        "width": [bar.right - bar.left for bar in series.bars],
        "marker": {"color": series.mark.colour, "line": {"width": 1, "color": "var(--paper)"}},
        "hoverinfo": "text",
        "hovertext": [_hover(series.name, bar.hover) for bar in series.bars],
        # Without it a text of the hover would be written on the bar.
        "textposition": "none",
        "meta": series.name,
    }


def _upright(at: float, line: dict[str, Any]) -> dict[str, Any]:
    ends = {"yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at}
    return {"type": "line", "layer": "below", "line": line} | ends


def _heading(text: str, at: float) -> dict[str, Any]:
    where = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "y", "y": at, "yanchor": "middle", "xshift": 4}
    return {
        "text": f"<b>{plain(short(text, 32))}</b>",
        "font": {"size": 11},
        "showarrow": False,
        "align": "left",
        "bgcolor": "var(--paper)",
    } | where


def _layout(height: int, x: Axis, y: Axis | None) -> dict[str, Any]:
    frame = {"fixedrange": True, "automargin": True, "gridcolor": "var(--line)", "zeroline": False, "ticks": ""}
    # From the first label of the other axis, which may stand in the same corner.
    away = {"ticklabelstandoff": 6} if y else {}
    return {
        "height": height,
        "margin": {"l": 8, "r": 14, "t": 10, "b": 8},
        "paper_bgcolor": "var(--paper)",
        "plot_bgcolor": "var(--paper)",
        "font": {"color": "var(--ink)", "size": 12, "family": "system-ui, 'Liberation Sans', sans-serif"},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "var(--faint)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
            "align": "left",
        },
        "dragmode": False,
        "xaxis": frame | {"title": {"text": plain(x.title), "standoff": 8}} | away | x.settings,
        "yaxis": frame | ({"title": {"text": plain(y.title), "standoff": 8}} | y.settings if y else {}),
    }
