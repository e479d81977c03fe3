"""A run's side of the cache: what is there is not embedded, what another run embeds is waited for, and the rest is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vjaccel.embedding.cache import Cache, CacheKeys, Claimed, Flyer, rows_of
from vjaccel.embedding.gathered import Gathered

__all__ = ["Lookup"]


class _Deferred(NamedTuple):
    """Texts of a chunk that another run is embedding."""

    places: list[int]
    claimed: Claimed


class Lookup:
    """Looks the texts of one run up, chunk by chunk, and keeps the vectors that it gets.

    Parameters
    ----------
    flyer : Flyer
        The run's part in the single flights of all runs that share the cache.
    """

    def __init__(self, cache: Cache, keys: CacheKeys, flyer: Flyer) -> None:
        self._cache = cache
        self._keys = keys
        self._flyer = flyer
        self._deferred: dict[int, _Deferred] = {}

    def missing(self, texts: Sequence[Any], places: list[int], gathered: Gathered) -> list[int]:
        """Those of `places` in a chunk that this run is to embed; `gathered` gets the vectors that are there."""
        keys = self._keys.of([texts[i] for i in places])
        places = self._taken(keys, places, gathered)
        left = self._claimed(places, gathered)
        _missed(gathered, len(left))
        return left

    def waits(self, gathered: Gathered) -> bool:
        """Whether another run was embedding texts of a chunk."""
        return gathered.first in self._deferred

    def waited(self, gathered: Gathered, stop: threading.Event) -> list[int]:
        """The places that another run was embedding and has not, and that are now this run's to embed.

        Others may have waited for the same: what one of them embeds now is waited for again.
        """
        deferred = self._deferred.pop(gathered.first, None)
        if deferred is None:
            return []
        to_the_end = self._flyer.wait(deferred.claimed.others, stop)
        left = self._taken([gathered.keys[i] for i in deferred.places], deferred.places, gathered)
        if to_the_end:
            left = self._claimed(left, gathered)
        _missed(gathered, len(left))
        return left

    def keep(self, gathered: Gathered, indices: np.ndarray, vectors: np.ndarray) -> None:
        """Put vectors that came for the texts `indices` of a chunk."""
        self._cache.put([gathered.keys[i] for i in indices.tolist()], vectors)

    def release(self, gathered: Gathered, indices: Iterable[int]) -> None:
        """The texts `indices` of a chunk are kept, or have failed."""
        self._flyer.release([gathered.keys[i] for i in indices])

    def _claimed(self, places: list[int], gathered: Gathered) -> list[int]:
        """Those of `places` that this run is to embed; the others are put off."""
        if not places:
            return []
        claimed = self._flyer.claim([gathered.keys[i] for i in places])
        mine = [places[i] for i in claimed.mine]
        if claimed.others:
            own = set(mine)
            self._deferred[gathered.first] = _Deferred([i for i in places if i not in own], claimed)
        # Another run may have kept them, and let go of them, after they were looked up and before they were claimed.
        left = self._taken([gathered.keys[i] for i in mine], mine, gathered)
        if len(left) < len(mine):
            wanted = set(left)
            self._flyer.release([gathered.keys[i] for i in mine if i not in wanted])
        return left

    def _taken(self, keys: Sequence[bytes], places: list[int], gathered: Gathered) -> list[int]:
        """Have `gathered` take what the cache has; the places of the rest."""
        found = self._cache.get(keys)
        first = next((value for value in found if value is not None), None)
        left = places
        if first is not None:
            hits, vectors = rows_of(found, gathered.width.first(len(first) // 4))
            indices = np.array(places, np.int64)[hits]
            gathered.put(indices, vectors, np.ones(len(hits), np.bool_))
            gathered.acknowledge(indices)
            gathered.tally.cache_hits += len(hits)
            gathered.recording.settled("cached", len(hits))
            gathered.recording.looked_up(len(hits), 0)
            gathered.looked_up += len(hits)
            there = set(hits.tolist())
            left = [place for i, place in enumerate(places) if i not in there]
            keys = [key for i, key in enumerate(keys) if i not in there]
        gathered.keys.update(zip(left, keys, strict=True))
        return left


def _missed(gathered: Gathered, texts: int) -> None:
    gathered.tally.cache_misses += texts
    gathered.recording.looked_up(0, texts)
