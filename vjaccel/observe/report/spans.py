"""A timeline as it is drawn: spans that have some batches each, since one by one they would only show that batches end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vjaccel.pages.plots import Axis, linear
from vjaccel.pages.words import scaled
from vjaccel.telemetry import SUMMED, Recording

__all__ = ["Clock", "Spans", "clock", "spans"]

DRAWN = 60
"""Spans, at most."""

BATCHES = 3
"""That a span has, on average, at least."""


class Spans(NamedTuple):
    """The middle of each span and how long it is, in seconds; the sums and highest values of `Timeline.values`."""

    middles: np.ndarray
    widths: np.ndarray
    values: dict[str, np.ndarray]

    def rate(self, name: str) -> np.ndarray:
        """The sums of `name`, for a second."""
        found: np.ndarray = self.values[name] / self.widths
        return found

    def seen(self, name: str) -> bool:
        """Whether there is anything of it."""
        found = self.values[name]
        return bool(np.nansum(found) > 0)


def spans(recording: Recording) -> Spans | None:
    """Of a run; None where it was too short for what is over time."""
    timeline = recording.timeline
    values = dict(timeline.values)
    count, width = len(values["batches"]), timeline.width
    batches = int(values["batches"].sum()) or int((values["cached"] > 0).sum())
    together = max(1, int(np.ceil(count / max(1, min(DRAWN, batches // BATCHES)))))
    if count // together < 3:
        return None
    values["cpu_seconds"] = _evenly(values["cpu_seconds"], ~np.isnan(values["memory_bytes"]))
    places = np.arange(0, count, together)
    # A rest of a span would show little but that some batch ended in it.
    if recording.seconds - places[-1] * width < together * width / 2:
        places = places[:-1]
    merged = {
        name: np.add.reduceat(found, places) if name in SUMMED else np.fmax.reduceat(found, places)
        for name, found in values.items()
    }
    starts = places * width
    ends = np.minimum(np.append(starts[1:], count * width), max(recording.seconds, starts[-1] + width / 4))
    return Spans((starts + ends) / 2, ends - starts, merged)


def _evenly(found: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What was seen to have been used in a span, over all spans since it was last looked; so is what was told at the end."""
    even, before = np.zeros(len(found)), -1
    for place in np.flatnonzero(seen | (found > 0)).tolist():
        even[before + 1 : place + 1] = found[place] / (place - before)
        before = place
    return even


class Clock(NamedTuple):
    """A unit of time that fits a run: its name, and its seconds."""

    unit: str
    size: float

    def axis(self, seconds: float) -> Axis:
        """From the beginning to `seconds`."""
        return linear(f"{self.unit} since the run began", 0.0, seconds / self.size, scaled)


def clock(seconds: float) -> Clock:
    """The unit for a run that took `seconds`."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 3 * size:
            return Clock(unit, size)
    return Clock("seconds", 1.0)
