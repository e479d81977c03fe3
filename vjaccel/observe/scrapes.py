"""Who scrapes a page, and when the next time is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from math import inf

__all__ = ["Scrapes"]

LONGEST = 60.0
"""Seconds that are waited for a scrape at most, and for the second of all: those of a Prometheus that nobody has set."""

LATE = 1.5
"""Times as long as there were between two scrapes is waited for the next."""

GONE = 3.0
"""Times as long after the last one nobody scrapes any more."""

KEPT = 64
"""Addresses of which it is known when they have scraped: those that came last."""


class Scrapes:
    """Somebody scrapes who says to be Prometheus, or has come twice and was here lately; each address is somebody.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._last: dict[str, list[float]] = {}
        self._prometheus = set[str]()

    def began(self, address: str, *, by_prometheus: bool) -> Callable[[], None]:
        """One begins from `address`; what is called when it has all that it came for."""
        began = self._clock()

        def ended() -> None:
            with self._changed:
                if by_prometheus:
                    self._prometheus.add(address)
                last = sorted([*self._last.pop(address, []), began])[-2:]
                self._last = dict([*self._last.items(), (address, last)][-KEPT:])
                self._prometheus &= self._last.keys()
                self._changed.notify_all()

        return ended

    def due(self) -> float | None:
        """Seconds within which the next one of each that scrapes has to come; None where nobody does."""
        with self._changed:
            return max(self._due().values(), default=None)

    def wait(self) -> None:
        """Wait until each that scrapes has ended one that begins from now on, as long as it is due."""
        now = self._clock()
        with self._changed:
            for address, seconds in sorted(self._due().items(), key=lambda found: found[1]):
                came = partial(self._came_since, address, now)
                self._changed.wait_for(came, max(0.0, now + seconds - self._clock()))

    def _due(self) -> dict[str, float]:
        """By the address, of those that are still there."""
        found = {}
        for address, last in self._last.items():
            if len(last) == 2:
                between = last[1] - last[0]
                late = min(LONGEST, 1.0 + LATE * between)
            elif address in self._prometheus:
                between = late = LONGEST
            else:
                continue
            if self._clock() - last[-1] <= max(late, GONE * between):
                found[address] = late
        return found

    def _came_since(self, address: str, now: float) -> bool:
        return self._last.get(address, [-inf])[-1] >= now
