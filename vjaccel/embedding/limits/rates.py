"""Requests and tokens per minute, never exceeded in any window of a minute, whoever's clock that is measured by.

A request counts from when it is sent until a minute after its reply has come: the service may have counted it at any moment
between the two. So the log holds what goes on, and what has ended within the last minute. (pyrate-limiter's window counts
from the moment of sending alone, so that of two bursts a slow network brings the first late and the second at once; it also
keeps a token as an entry of a list, and takes none back when a reply says that fewer were read.)
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["MINUTE", "Rates", "RatesPerMinute", "Use", "Uses", "rates_of"]

MINUTE = 60.0

LOOK_AGAIN = 1.0
"""Seconds after which who waits looks again: a reply may have given tokens back."""

NEXT_TURN = 0.005
"""Seconds after which, at the earliest, who waits behind others looks again."""


class RatesPerMinute(NamedTuple):
    """What one user of a service may send in a minute; None is no limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(slots=True, eq=False)
class Use:
    """One request; `ended` is None while it goes on."""

    tokens: int
    ended: float | None = None


class Uses:
    """The requests of the last minute, and when the next may be sent: pure arithmetic, the time is given."""

    def __init__(self) -> None:
        self._under_way: set[Use] = set()
        self._ended: deque[Use] = deque()
        self._tokens = 0

    def wait(self, now: float, tokens: int, limits: RatesPerMinute) -> float:
        """Seconds until a request of `tokens` may be sent, if nothing changes; 0 if it may be sent now.

        What goes on has no end yet: where that is in the way, the least it can be is a minute.
        """
        while self._ended and (self._ended[0].ended or 0.0) <= now - MINUTE:
            self._tokens -= self._ended.popleft().tokens
        requests, used = len(self._under_way) + len(self._ended), self._tokens
        if _fits(requests, used, tokens, limits):
            return 0.0
        for use in self._ended:
            requests, used = requests - 1, used - use.tokens
            if _fits(requests, used, tokens, limits):
                return (use.ended or 0.0) + MINUTE - now
        return MINUTE

    def begin(self, tokens: int) -> Use:
        """Note that a request is sent; `tokens` is what it may cost at most."""
        use = Use(tokens)
        self.begun(use)
        return use

    def begun(self, use: Use) -> None:
        """Note one that was made elsewhere."""
        self._under_way.add(use)
        self._tokens += use.tokens

    def end(self, use: Use, now: float, tokens: int | None) -> None:
        """Note that its reply has come, or never will; `tokens` is what it did cost, where that is known."""
        self._under_way.discard(use)
        if tokens is not None:
            self._tokens += tokens - use.tokens
            use.tokens = tokens
        use.ended = now
        self._ended.append(use)


class Rates:
    """The uses of one key at one place, for all threads and event loops of the process; first come, first served."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._uses = Uses()
        self._queue: deque[object] = deque()
        self._resumes = 0.0
        self._next = 0.0

    async def begun(self, tokens: int, limits: RatesPerMinute, sleep: Callable[[float], Awaitable[object]]) -> Use:
        """Wait until a request of `tokens` may be sent, and count it as sent."""
        turn = object()
        with self._lock:
            self._queue.append(turn)
        try:
            while True:
                with self._lock:
                    first = self._queue[0] is turn
                    wait = self._next - self._clock()
                # Whoever has no limits has nobody to wait for.
                if first or limits == (None, None):
                    found = await self._asked(tokens, limits)
                    if isinstance(found, Use):
                        return found
                    wait = found
                    with self._lock:
                        self._next = self._clock() + wait
                await sleep(min(max(wait, NEXT_TURN), LOOK_AGAIN))
        finally:
            with self._lock:
                self._queue.remove(turn)

    async def _asked(self, tokens: int, limits: RatesPerMinute) -> Use | float:
        """The use that begins now, or seconds until there may be one."""
        with self._lock:
            now = self._clock()
            wait = max(self._resumes - now, self._uses.wait(now, tokens, limits))
            return wait if wait > 0 else self._uses.begin(tokens)

    def ended(self, use: Use, tokens: int | None) -> None:
        """Note that its reply has come, or never will; `tokens` is what it did cost, where that is known."""
        with self._lock:
            self._uses.end(use, self._clock(), tokens)

    def paused(self) -> float:
        """Seconds until anybody may send again, as the service has asked for it; 0 where it has not."""
        with self._lock:
            return max(0.0, self._resumes - self._clock())

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long: the service has asked for it."""
        with self._lock:
            self._resumes = max(self._resumes, self._clock() + seconds)


def _fits(requests: int, used: int, tokens: int, limits: RatesPerMinute) -> bool:
    return (limits.requests is None or requests + 1 <= limits.requests) and (
        limits.tokens is None or used + tokens <= limits.tokens
    )


_known: dict[tuple[str, str, str], Rates] = {}
_lock = threading.Lock()


def rates_of(provider: str, endpoint: str, key_digest: str) -> Rates:
    """The process' one log of what is sent to a service with a key; the key itself is not kept."""
    with _lock:
        return _known.setdefault((provider, endpoint, key_digest), Rates())
