"""Seeing a run while it goes, and saying what happens. What is shown is measured, never estimated.

`progress` and `watch` draw, `logs` writes; `monitor` serves metrics and health, by `metrics` and `health`; `exported` has the
dashboard and the alerts.
"""

from vjaccel.observe.budget import BudgetBar
from vjaccel.observe.exported import export
from vjaccel.observe.health import STALLED
from vjaccel.observe.logs import JsonFormatter, LogFormat, LogLevel, formatted, say_on_stderr
from vjaccel.observe.monitor import HOST, Load, Monitor, Source
from vjaccel.observe.progress import LogLines, RunBar
from vjaccel.observe.view import Seen, View, cost_of
from vjaccel.observe.watch import WatchView

__all__ = [
    "HOST",
    "STALLED",
    "BudgetBar",
    "JsonFormatter",
    "Load",
    "LogFormat",
    "LogLevel",
    "LogLines",
    "Monitor",
    "RunBar",
    "Seen",
    "Source",
    "View",
    "WatchView",
    "cost_of",
    "export",
    "formatted",
    "say_on_stderr",
]
