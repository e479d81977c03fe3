"""How a series looks: a colour, a sign, a line. The colours are CSS variables, `assets/report.css` gives their two sets."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COLOURS", "LINE", "SYMBOLS", "Mark", "colour"]

COLOURS = 7

SYMBOLS = {
    "circle": "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z",
    "square": "M3 3h10v10h-10z",
    "diamond": "M8 1l7 7l-7 7l-7-7z",
    "triangle-up": "M8 2l7 12h-14z",
    "triangle-down": "M8 14l7-12h-14z",
    "cross": "M5.5 1.5h5v4h4v5h-4v4h-5v-4h-4v-5h4z",
    "x": "M4 1.5l4 4l4-4l2.5 2.5l-4 4l4 4l-2.5 2.5l-4-4l-4 4l-2.5-2.5l4-4l-4-4z",
    "pentagon": "M8 1.5l6.5 4.7l-2.5 7.8h-8l-2.5-7.8z",
    "star": "M8 1l2 5h5l-4 3.2l1.5 5.3l-4.500-3.200l-4.500 3.200l1.500-5.300l-4-3.200h5z",
    "hexagon": "M4.5 2h7l3.500 6l-3.500 6h-7l-3.500-6z",
    "hourglass": "M3 2h10l-10 12h10z",
    "bowtie": "M2 3v10l12-10v10z",
    "triangle-left": "M2 8l12-7v14z",
    "triangle-right": "M14 8l-12-7v14z",
    "diamond-tall": "M8 1l4.500 7l-4.500 7l-4.500-7z",
    "diamond-wide": "M1 8l7-4.500l7 4.500l-7 4.500z",
}
"""plotly's symbols, and each as a path in a square of 16 for the legend."""

LINE = "line-ew"
"""The symbol of a line without dots."""


class Mark(NamedTuple):
    """A colour (a CSS variable), one of `SYMBOLS` or `LINE`, whether it is filled, and plotly's `dash`."""

    colour: str
    symbol: str
    filled: bool
    dash: str = "solid"

    @property
    def plotly(self) -> dict[str, object]:
        """As plotly's `marker`."""
        name = self.symbol if self.filled else f"{self.symbol}-open"
        return {"color": self.colour, "symbol": name, "size": 9, "line": {"width": 2, "color": self.colour}}


def colour(number: int) -> str:
    """The CSS variable of the colour `number`; that of the text below 0."""
    return "var(--ink)" if number < 0 else f"var(--c{number % COLOURS})"
