"""Pages: one HTML file of words, plots and tables, which needs no network and runs nothing that it was given."""

from vjaccel.pages.marks import COLOURS, LINE, SYMBOLS, Mark, colour
from vjaccel.pages.page import Fold, Plot, Section, Table, write_page
from vjaccel.pages.whole import check_writable, write_whole

__all__ = [
    "COLOURS",
    "LINE",
    "SYMBOLS",
    "Fold",
    "Mark",
    "Plot",
    "Section",
    "Table",
    "check_writable",
    "colour",
    "write_page",
    "write_whole",
]
