"""Single flight: of two runs in one process that want the same text, one embeds it and the other waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

from vjaccel.embedding.cache.protocol import Cache
from vjaccel.embedding.cache.sharing import Held

__all__ = ["Claimed", "Flights", "Flyer", "flights_of"]

LOOK = 0.05
"""Seconds after which one who waits looks whether it is to stop."""


class Flight:
    """What one run is embedding, and has not yet put into the cache."""

    def __init__(self, flyer: Flyer, keys: set[bytes]) -> None:
        self.flyer = flyer
        self.keys = keys
        self.landed = threading.Event()


class Claimed(NamedTuple):
    """What a claim came to.

    Attributes
    ----------
    mine : list of int
        Places of the keys that are this run's to embed.
    others : list of Flight
        Of other runs, with all the other keys; for `Flyer.wait`.
    """

    mine: list[int]
    others: list[Flight]


class Flights:
    """Who embeds what, of all the runs in this process that share a cache.

    Examples
    --------
    A run claims what the cache lacks, embeds what is its own, releases it, and waits for the rest; what is then still not in
    the cache, the other run has failed at, and it claims that in its turn::

        with flights.run() as flyer:
            missing = keys
            while missing:
                claimed = flyer.claim(missing)
                own = [missing[i] for i in claimed.mine]
                # Another run may have kept them, and let go of them, since they were looked up.
                rest = [key for key in own if cache.get([key]) == [None]]
                cache.put(rest, embedded(rest))
                flyer.release(own)
                missing = [key for key in missing if cache.get([key]) == [None]]
                if missing and not flyer.wait(claimed.others):
                    ...  # embed those that are missing, without a claim
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: dict[bytes, Flight] = {}

    @contextmanager
    def run(self) -> Iterator[Flyer]:
        """A run's part in it; however the block ends, nothing that it has claimed stays so."""
        flyer = Flyer(self._lock, self._in_flight)
        try:
            yield flyer
        finally:
            flyer.release_all()

    def __len__(self) -> int:
        """How many keys are claimed."""
        return len(self._in_flight)


class Flyer:
    """One run's part. Its methods may be called by all of the run's threads."""

    def __init__(self, lock: threading.Lock, in_flight: dict[bytes, Flight]) -> None:
        self._lock = lock
        self._in_flight = in_flight
        self._flights: set[Flight] = set()
        self._waits_for: list[Flight] = []

    def claim(self, keys: Sequence[bytes]) -> Claimed:
        """Take on those of some distinct keys that no other run is embedding."""
        flight = Flight(self, set())
        mine, others = [], dict[Flight, None]()
        with self._lock:
            for i, key in enumerate(keys):
                taken = self._in_flight.setdefault(key, flight)
                if taken is flight:
                    flight.keys.add(key)
                if taken.flyer is self:
                    mine.append(i)
                else:
                    others[taken] = None
            if flight.keys:
                self._flights.add(flight)
        return Claimed(mine, list(others))

    def release(self, keys: Sequence[bytes]) -> None:
        """These are in the cache, or have failed: whoever waits may look. Keys that are not this run's are passed over."""
        with self._lock:
            for key in keys:
                flight = self._in_flight.get(key)
                if flight is not None and flight.flyer is self:
                    del self._in_flight[key]
                    flight.keys.discard(key)
                    if not flight.keys:
                        self._flights.discard(flight)
                        flight.landed.set()

    def release_all(self) -> None:
        """As `release`, of all that this run has claimed."""
        with self._lock:
            held = [key for flight in self._flights for key in flight.keys]
        self.release(held)

    def wait(self, others: Sequence[Flight], stop: threading.Event | None = None) -> bool:
        """Wait until all `others` are released, or `stop` is set.

        A run does best to release what is its own before. One that cannot, having more under way, is safe still: where waiting
        would close a circle of runs that wait for each other, this does not wait.

        Returns
        -------
        bool
            False where it did not wait to the end: what is still missing is then this run's to embed, without a claim, or to
            leave, where it was stopped.
        """
        with self._lock:
            if self._waited_for_by([flight for flight in others if not flight.landed.is_set()]):
                return False
            # Several threads of a run may wait at once.
            self._waits_for.extend(others)
        try:
            for flight in others:
                while not flight.landed.wait(LOOK):
                    if stop is not None and stop.is_set():
                        return False
        finally:
            with self._lock:
                for flight in others:
                    self._waits_for.remove(flight)
        return True

    def _waited_for_by(self, flights: Sequence[Flight]) -> bool:
        """Whether those who fly these wait for this run, or for one that does, and so on."""
        seen: set[Flyer] = set()
        waiting = [flight.flyer for flight in flights]
        while waiting:
            flyer = waiting.pop()
            if flyer is self:
                return True
            if flyer not in seen:
                seen.add(flyer)
                waiting.extend(flight.flyer for flight in flyer._waits_for if not flight.landed.is_set())
        return False


_OF: WeakKeyDictionary[object, Flights] = WeakKeyDictionary()
_OF_LOCK = threading.Lock()


def flights_of(cache: Cache) -> Flights:
    """The flights of a cache: the same for all who have opened the same folder or Redis in this process."""
    with _OF_LOCK:
        return _OF.setdefault(cache.shared if isinstance(cache, Held) else cache, Flights())
