"""Who scrapes a page, and when the next time is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Scrapes"]

LONGEST = 60.0
"""Seconds that are waited for a scrape at most, and for the second of all: those of a Prometheus that nobody has set."""

LATE = 1.5
"""Times as long as there were between two scrapes is waited for the next."""

GONE = 3.0
"""Times as long after the last one nobody scrapes any more."""


class Scrapes:
    """Somebody scrapes who says to be Prometheus, or has come twice and was here lately.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._last: list[float] = []
        self._prometheus = False

    def began(self, *, by_prometheus: bool) -> Callable[[], None]:
        """One begins; what is called when it has all that it came for."""
        began = self._clock()

        def ended() -> None:
            with self._changed:
                self._prometheus = self._prometheus or by_prometheus
                self._last = sorted([*self._last, began])[-2:]
                self._changed.notify_all()

        return ended

    def due(self) -> float | None:
        """Seconds within which the next one has to come; None where nobody scrapes."""
        with self._changed:
            if len(self._last) == 2:
                between = self._last[1] - self._last[0]
                late = min(LONGEST, 1.0 + LATE * between)
                return None if self._clock() - self._last[1] > max(late, GONE * between) else late
            return LONGEST if self._last and self._prometheus else None

    def wait(self, seconds: float) -> None:
        """Wait until one that begins from now on has ended, for so long at most."""
        now = self._clock()
        with self._changed:
            self._changed.wait_for(lambda: bool(self._last) and self._last[-1] >= now, seconds)
