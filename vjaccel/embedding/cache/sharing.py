"""One open cache for all in this process who name the same place: LMDB forbids to open a file twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from vjaccel.embedding.cache.protocol import Cache
from vjaccel.errors import InvalidInput

__all__ = ["Held", "held"]


class Held:
    """One user's hold on a cache that others in this process may hold too: it is closed with the last hold.

    Attributes
    ----------
    shared : Cache
        What is held.
    """

    def __init__(self, place: Hashable, shared: Cache) -> None:
        self.shared = shared
        self._place = place
        self._closed = False

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        """See `Cache.get`."""
        return self._open().get(keys)

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `Cache.put`."""
        self._open().put(keys, vectors)

    def close(self) -> None:
        """Let go; the cache itself is closed once nobody holds it."""
        with _LOCK:
            if self._closed:
                return
            self._closed = True
            _HOLDERS[self._place] -= 1
            if not _HOLDERS[self._place]:
                del _HOLDERS[self._place], _OPEN[self._place]
                self.shared.close()

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self._open())

    @property
    def bytes_used(self) -> int | None:
        """What they take where they are kept."""
        return self._open().bytes_used

    def _open(self) -> Cache:
        if self._closed:
            raise InvalidInput("this cache is closed; open it again")
        return self.shared


_LOCK = threading.Lock()
_OPEN: dict[Hashable, Cache] = {}
_HOLDERS: dict[Hashable, int] = {}


def held(place: Hashable, make: Callable[[], Cache]) -> Held:
    """A hold on the cache at `place`, which `make` opens if nobody here has."""
    with _LOCK:
        if place not in _OPEN:
            _OPEN[place] = make()
        _HOLDERS[place] = _HOLDERS.get(place, 0) + 1
        return Held(place, _OPEN[place])
