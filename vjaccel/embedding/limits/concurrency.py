"""How many requests go on at once: one more for each round that goes well, half when the service pushes back."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Adaptive", "Slots"]

SMOOTHING = 0.3
"""The weight of the newest request in the smoothed latency."""

GROWN = 2.0
"""Latency counts as growing from so many times the usual on..."""

NOTICED = 0.05
"""...and from so many seconds more than it: what is less is the network's noise."""

DRIFT = 1.02
"""How much the usual latency rises with each request, so that a service that has become slow for good is believed."""


class Adaptive:
    """Additive increase, multiplicative decrease: pure arithmetic, the times are given.

    Until the first request has succeeded there is one at a time, so that what would refuse all of them is asked once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = 1.0
        self._cut_at = float("-inf")
        self._recent = self._usual = 0.0
        self.proven = False

    @property
    def limit(self) -> int:
        """How many may go on at once."""
        return int(self._limit)

    def succeeded(self, began: float, now: float) -> None:
        """Note a request that was answered."""
        seconds = now - began
        if not self.proven:
            self.proven = True
            self._limit = max(1.0, self._most / 2)
            self._recent = self._usual = seconds
            return
        self._recent += SMOOTHING * (seconds - self._recent)
        self._usual = min(self._recent, self._usual * DRIFT)
        if self._recent > GROWN * self._usual and self._recent - self._usual > NOTICED:
            self.pushed_back(began, now)
        else:
            self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def pushed_back(self, began: float, now: float) -> None:
        """Note that the service had too much. Requests that were sent before the last cut tell nothing new."""
        if self.proven and began > self._cut_at:
            self._limit = max(1.0, self._limit / 2)
            self._cut_at = now
            # What made it slow goes on to be answered for a while; that is no second reason.
            self._recent = self._usual


class Slots:
    """As many holders at once as `Adaptive` says, first come, first served, within one event loop."""

    def __init__(self, adaptive: Adaptive) -> None:
        self.adaptive = adaptive
        self._busy = 0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._busy < self.adaptive.limit)
            self._busy += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._busy -= 1
        async with self._changed:
            self._changed.notify_all()
