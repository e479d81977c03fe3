"""Seeing a run while it goes, and saying what happens. What is shown is measured, never estimated."""

from vjaccel.observe.budget import BudgetBar
from vjaccel.observe.logs import JsonFormatter, LogFormat, LogLevel, formatted, say_on_stderr
from vjaccel.observe.progress import LogLines, RunBar
from vjaccel.observe.view import Seen, View
from vjaccel.observe.watch import WatchView

__all__ = [
    "BudgetBar",
    "JsonFormatter",
    "LogFormat",
    "LogLevel",
    "LogLines",
    "RunBar",
    "Seen",
    "View",
    "WatchView",
    "formatted",
    "say_on_stderr",
]
