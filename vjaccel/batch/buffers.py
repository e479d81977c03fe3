"""Arrays that are used again: lists of vectors are put together in them, batch after batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["Buffers"]


class Buffers:
    """Keeps buffers that nobody uses, of `max_bytes` at most together; with 0 each is made anew."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._free: list[np.ndarray] = []
        self._lock = threading.Lock()
        self.allocated = self.reused = self.held = 0

    @contextmanager
    def taken(self, rows: int, dim: int) -> Iterator[np.ndarray]:
        """An array (rows, dim) of float32 that holds anything, to be used inside the block alone."""
        needed = rows * dim
        with self._lock:
            fitting = [place for place, one in enumerate(self._free) if one.size >= needed]
            place = min(fitting, key=lambda place: self._free[place].size, default=None)
            buffer = None if place is None else self._free.pop(place)
            if buffer is None:
                self.allocated += 1
            else:
                self.reused += 1
                self.held -= buffer.nbytes
        if buffer is None:
            buffer = np.empty(needed, np.float32)
        try:
            yield buffer[:needed].reshape(rows, dim)
        finally:
            with self._lock:
                self._keep(buffer)

    def _keep(self, buffer: np.ndarray) -> None:
        if buffer.nbytes > self._max_bytes:
            return
        self._free.append(buffer)
        self.held += buffer.nbytes
        while self.held > self._max_bytes:  # the smallest fits least
            smallest = min(range(len(self._free)), key=lambda place: self._free[place].size)
            self.held -= self._free.pop(smallest).nbytes
