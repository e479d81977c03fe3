"""Seeing a run while it goes. `progress` draws a bar; what it shows is measured, never estimated."""

from vjaccel.observe.progress import RunBar

__all__ = ["RunBar"]
