"""Seeing a run while it goes. `progress` and `budget` draw bars; what they show is measured, never estimated.

`monitor` serves metrics and health to others, by `metrics` and `health`; `exported` has the dashboard and the alerts.
"""

from vjaccel.observe.budget import BudgetBar
from vjaccel.observe.exported import export
from vjaccel.observe.health import STALLED
from vjaccel.observe.monitor import HOST, Load, Monitor, Source
from vjaccel.observe.progress import RunBar

__all__ = ["HOST", "STALLED", "BudgetBar", "Load", "Monitor", "RunBar", "Source", "export"]
