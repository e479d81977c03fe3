"""A circuit breaker for an endpoint: when it is down, one request in a while asks whether it is back; the others wait."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from vjaccel.telemetry import CircuitChanged, tell

__all__ = ["Breaker", "breaker_of"]

TRIPS = 5
"""Failures in a row that open the circuit."""

FIRST, LONGEST = 1.0, 30.0
"""Seconds that it stays open at first, and at most; twice as long after each probe that fails."""

PROBED = 0.05
"""Seconds after which to look again while a probe goes on."""

logger = logging.getLogger("vjaccel.embedding")


class Breaker:
    """Closed, open or half open; the time is given. For all threads of the process."""

    def __init__(self, name: str, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._name = name
        self._uniform = uniform
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0
        self._opens = 0
        self._until = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half open``."""
        if not self._opens:
            return "closed"
        return "half open" if self._probing else "open"

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; with 0 it is to be sent, and told of by one of the three below."""
        with self._lock:
            if not self._opens:
                return 0.0
            if self._probing:
                return PROBED
            if now < self._until:
                return self._until - now
            self._probing = True
            return 0.0

    def down(self, now: float) -> float:
        """Seconds since the first of the failures that opened it; 0 while it is closed."""
        with self._lock:
            return now - self._since if self._opens else 0.0

    def answered(self) -> None:
        """Note that the endpoint has answered, be it with a refusal."""
        with self._lock:
            back = self._opens > 0
            self._failures = self._opens = 0
            self._probing = False
        if back:
            tell(CircuitChanged(self._name, is_open=False))
            logger.warning("%s is back", self._name)

    def failed(self, now: float, why: str) -> None:
        """Note that the endpoint has not answered, or with an error of its own."""
        with self._lock:
            if not self._failures:
                self._since = now
            self._failures += 1
            # Those sent before it opened say nothing new.
            if self._failures < TRIPS or (self._opens and not self._probing):
                return
            seconds = min(LONGEST, FIRST * 2.0 ** min(self._opens, 16))
            # Half of it jitter, so that several processes do not ask at once.
            self._until = now + self._uniform(seconds / 2, seconds)
            self._opens += 1
            self._probing = False
            first = self._opens == 1
        if first:
            tell(CircuitChanged(self._name, is_open=True))
            logger.warning("%s is down (%s): asking again once in a while", self._name, why)

    def forgiven(self, failures: int) -> None:
        """Take back some of the failures that have not opened it: they were those of what was asked."""
        with self._lock:
            if not self._opens:
                self._failures = max(0, self._failures - failures)

    def abandoned(self) -> None:
        """Note that a request was given up before anything could be said of the endpoint."""
        with self._lock:
            self._probing = False


_known: dict[tuple[str, str], Breaker] = {}
_lock = threading.Lock()


def breaker_of(provider: str, endpoint: str) -> Breaker:
    """The process' one breaker for an endpoint."""
    with _lock:
        return _known.setdefault((provider, endpoint), Breaker(f"{provider} at {endpoint}" if endpoint else provider))
