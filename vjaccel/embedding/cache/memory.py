"""A cache in this process' memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from vjaccel.embedding.cache.protocol import checked
from vjaccel.errors import InvalidInput

__all__ = ["MemoryCache"]

MAX_BYTES = 256 * 1024 * 1024
OVERHEAD = 300
"""Bytes that an entry takes beside its vector, measured: its key, two objects' heads, its place in the dictionary."""


class MemoryCache:
    """Keeps vectors in memory, and forgets those that were not asked for longest.

    Parameters
    ----------
    max_bytes : int
        What all entries together may take.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes < 1:
            raise InvalidInput(f"max_bytes must be at least 1, not {max_bytes}")
        self._max_bytes = max_bytes
        # Of its kind the one in C: cachetools.LRUCache, in Python, took seven times as long to ask.
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        """See `Cache.get`."""
        with self._lock:
            found: list[bytes | memoryview | None] = list(map(self._entries.get, keys))
            asked = self._entries.move_to_end
            for key, value in zip(keys, found, strict=True):
                if value is not None:
                    asked(key)
        return found

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `Cache.put`."""
        rows = checked(keys, vectors)
        with self._lock:
            for key, row in zip(keys, rows, strict=True):
                before = self._entries.pop(key, None)
                if before is not None:
                    self._used -= len(before) + OVERHEAD
                self._entries[key] = value = row.tobytes()
                self._used += len(value) + OVERHEAD
            while self._used > self._max_bytes:
                self._used -= len(self._entries.popitem(last=False)[1]) + OVERHEAD

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._used = 0

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self._entries)

    @property
    def bytes_used(self) -> int:
        """What they take, their keys included."""
        return self._used
