"""Pages: one HTML file of words, plots and tables, which needs no network and runs nothing that it was given."""

from vjaccel.pages.marks import COLOURS, SYMBOLS, Mark, colour
from vjaccel.pages.page import Fold, Plot, Section, Table, write_page
from vjaccel.pages.whole import write_whole

__all__ = ["COLOURS", "SYMBOLS", "Fold", "Mark", "Plot", "Section", "Table", "colour", "write_page", "write_whole"]
