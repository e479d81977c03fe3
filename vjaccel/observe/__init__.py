"""Seeing a run while it goes. `progress` and `budget` draw bars; what they show is measured, never estimated."""

from vjaccel.observe.budget import BudgetBar
from vjaccel.observe.progress import RunBar

__all__ = ["BudgetBar", "RunBar"]
