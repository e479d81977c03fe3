"""The library's limits in made-up time: its own `Rates` waits, and what would be in Redis is a log of the library's `Uses`."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import simpy

from vjaccel.embedding.limits import Rates, RatesPerMinute, Use, Uses
from vjaccel.embedding.limits.rates import MINUTE
from vjaccel.embedding.spread import options_of_one

__all__ = ["Limit", "OfAll", "SharedLog", "begun"]


class Limit(NamedTuple):
    """Tokens a minute that all workers may send together.

    Attributes
    ----------
    shared : bool
        One budget in Redis; else each worker has its share.
    at_once : int
        Requests that a worker has under way.
    ask : float
        Seconds for which Redis is busy with a question; it answers one after the other.
    longest : float
        Seconds after which a request that nobody tells the end of counts as ended.
    """

    tokens: int
    shared: bool = True
    at_once: int = 1
    ask: float = 0.0
    longest: float = MINUTE

    def of_one(self, workers: int) -> RatesPerMinute:
        """What each of the workers is given as its limit."""
        options = {"model": "openai:m", "tokens_per_minute": self.tokens} | (
            {"shared_limits": "redis://"} if self.shared else {}
        )
        return RatesPerMinute(None, options_of_one(options, workers, 1, 0)["tokens_per_minute"])


class SharedLog:
    """What all processes have sent, and when whoever keeps it has time for another question."""

    def __init__(self, ask: float) -> None:
        self.uses = Uses()
        self.asks = 0
        self._ask = ask
        self._free = 0.0

    def turn(self, now: float) -> float:
        """Seconds until a question that is put now is answered."""
        self.asks += 1
        self._free = max(self._free, now) + self._ask
        return self._free - now


class OfAll(Rates):
    """One process' part in a log, as `SharedRates` is."""

    def __init__(self, log: SharedLog, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._log = log

    async def _asked(self, tokens: int, limits: RatesPerMinute) -> Use | float:
        await _slept(self._log.turn(self._clock()))
        wait = self._log.uses.wait(self._clock(), tokens, limits)
        return wait if wait > 0 else self._log.uses.begin(tokens)

    def ended(self, use: Use, tokens: int | None) -> None:
        """See `Rates.ended`."""
        self._log.uses.end(use, self._clock(), tokens)


@types.coroutine
def _slept(seconds: float) -> Generator[float, None, None]:
    yield seconds


def begun(
    env: simpy.Environment, rates: Rates, tokens: int, limits: RatesPerMinute, until: float
) -> Generator[simpy.Event, Any, Use | None]:
    """The use that `Rates.begun` gives after it has slept in the time of `env`; None where that is not before `until`."""
    asking = rates.begun(tokens, limits, _slept)
    try:
        while True:
            seconds = asking.send(None)
            if env.now + seconds >= until:
                yield env.timeout(max(0.0, until - env.now))
                return None
            yield env.timeout(seconds)
    except StopIteration as told:
        use: Use = told.value
        return use
    finally:
        asking.close()
